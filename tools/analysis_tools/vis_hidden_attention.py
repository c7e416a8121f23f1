"""What the scans look at: ``python tools/analysis_tools/vis_hidden_attention.py IMAGE CONFIG [CKPT]``."""

import argparse
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import cv2
import torch

from mmmamba.analysis.attention_maps import METHODS, SIGNS, attention_heat, overlay
from mmmamba.analysis.images import preprocess, read_image
from mmmamba.apis import get_model
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.arguments import device, positive
from mmmamba.engine.config import load_config

EXACT = 1e-3  # of the model's own precision, fp32


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Heat maps of the attention matrices that selective scans imply.')
    parser.add_argument('img', metavar='IMAGE')
    parser.add_argument('config', help='config file, or the name of a config of ours')
    parser.add_argument(
        'checkpoint', nargs='?', help="file, address or work directory; the authors' files load as well"
    )
    parser.add_argument('--method', nargs='+', choices=METHODS, default=['raw', 'rollout'], help='default: raw rollout')
    parser.add_argument('--stage', type=int, default=-1, help='run of layers over one grid; default: the last')
    parser.add_argument('--layer', type=int, default=-1, help='of the stage; default: the last')
    parser.add_argument('--query', help="'class', 'mean', 'centre' or ROW,COLUMN of the map; default: class, else mean")
    parser.add_argument('--target-category', type=int, help='class that attribution explains; default: the predicted')
    parser.add_argument('--sign', choices=SIGNS, default='abs', help='what rollout makes of negative values')
    parser.add_argument('--size', nargs=2, type=positive, default=[224, 224], metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--opacity', type=float, default=0.5, help='of the heat map')
    parser.add_argument('--out-dir', default='hidden_attention', help='for NAME_METHOD.png and .pt')
    parser.add_argument('--device', default='cpu', type=device)
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        image = read_image(args.img, tuple(args.size))
        cfg = load_config(args.config, args.cfg_options)
        model = get_model(cfg, args.checkpoint or False, device=args.device)
        out = Path(args.out_dir)
        out.mkdir(parents=True, exist_ok=True)
        for method in args.method:
            heat, layer, error = attention_heat(
                model,
                preprocess(model, [image]),
                method,
                layer=args.layer,
                stage=args.stage,
                query=args.query,
                target=args.target_category,
                sign=args.sign,
                report=lambda line: print(line, file=sys.stderr),
            )
            file = out / f'{Path(args.img).stem}_{method}.png'
            cv2.imwrite(str(file), overlay(image, heat, args.opacity))
            torch.save(heat, file.with_suffix('.pt'))
            verdict = 'exact' if error < EXACT else 'NOT EXACT'
            print(f'{file}: {layer}, y = alpha u + D u to {error:.1e} ({verdict})')


if __name__ == '__main__':
    main()
