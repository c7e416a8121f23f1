"""Predictions for images and videos: ``python tools/image_demo.py IMAGE CONFIG CKPT --out-dir DIR``."""

import argparse
import sys

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.apis.files import predict_files
from mmmamba.apis.inferencer import build_inferencer
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.arguments import device
from mmmamba.engine.config import load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw and write the predictions of a detector, segmentor, classifier.')
    parser.add_argument('img', metavar='IMAGE', help='image, folder or video')
    parser.add_argument('config', help='config file, or the name of a config of ours')
    parser.add_argument('checkpoint', help="file, address or work directory; the authors' files load as well")
    parser.add_argument('--out-dir', default='outputs', help='for vis/ and preds/; default: outputs')
    parser.add_argument('--device', type=device, help='cpu, cuda, cuda:1 ...; default: a GPU if there is one')
    parser.add_argument('--pred-score-thr', type=float, default=0.3, help='boxes with less are left out; default: 0.3')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        predictor = build_inferencer(cfg, args.checkpoint, device=args.device)
        written = predict_files(
            predictor,
            args.img,
            args.out_dir,
            score_thr=args.pred_score_thr,
            report=lambda line: print(line, file=sys.stderr),
        )
    pictures, records = len(written.pictures), len(written.records)
    print(f'{pictures} pictures in {args.out_dir}/vis, {records} records in {args.out_dir}/preds')
    if written.unreadable:
        sys.exit(f'error: {len(written.unreadable)} files could not be read, named above')


if __name__ == '__main__':
    main()
