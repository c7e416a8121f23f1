"""Which class is taken for which: ``python tools/analysis_tools/confusion_matrix.py CONFIG RESULTS.pkl DIR``."""

import argparse
import json
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import matplotlib

from mmmamba.analysis.confusion_matrix import confusion_matrix, confusion_matrix_of_checkpoint, plot
from mmmamba.engine import ConfigOptions, UserError, one_line_errors
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Confusion matrix of a detector, segmentor or classifier.')
    parser.add_argument('config', help='config that the predictions were made with')
    parser.add_argument(
        'ckpt_or_result', help='predictions of tools/test.py --out (.pkl; of a segmentor a folder), or a checkpoint'
    )
    parser.add_argument('save_dir', nargs='?', default='.', help='for confusion_matrix.png and .json; default: here')
    parser.add_argument('--color-theme', '--cmap', default='plasma', help='colours of matplotlib; default: plasma')
    parser.add_argument('--title', default='Normalized Confusion Matrix', help='of the picture')
    parser.add_argument('--include-values', action='store_true', help='write figures for more than 30 classes as well')
    parser.add_argument('--score-thr', type=float, default=0.3, help='boxes with less do not count; default: 0.3')
    parser.add_argument('--tp-iou-thr', type=float, default=0.5, help='overlap of a match; default: 0.5')
    parser.add_argument('--nms-iou-thr', type=float, help='suppress boxes again with this threshold')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    thresholds = dict(score_thr=args.score_thr, tp_iou_thr=args.tp_iou_thr, nms_iou_thr=args.nms_iou_thr)
    with one_line_errors():
        if args.color_theme not in matplotlib.colormaps:
            raise UserError(f'--color-theme {args.color_theme!r} is not known to matplotlib; viridis and plasma are')
        cfg = load_config(args.config, args.cfg_options)
        check_data_paths(cfg, ('test_dataloader',))
        if args.ckpt_or_result.endswith(('.pkl', '.pickle')) or Path(args.ckpt_or_result).is_dir():
            matrix, classes = confusion_matrix(cfg, args.ckpt_or_result, **thresholds)
        else:
            matrix, classes = confusion_matrix_of_checkpoint(
                args.config, args.ckpt_or_result, cfg, args.cfg_options, **thresholds
            )
        out = Path(args.save_dir)
        out.mkdir(parents=True, exist_ok=True)
        (out / 'confusion_matrix.json').write_text(json.dumps(dict(classes=classes, matrix=matrix.tolist())))
        values = True if args.include_values else None
        plot(matrix, classes, title=args.title, cmap=args.color_theme, include_values=values).savefig(
            out / 'confusion_matrix.png'
        )
        print(out / 'confusion_matrix.png')


if __name__ == '__main__':
    main()
