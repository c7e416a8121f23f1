"""Curves and times of training: ``python tools/analysis_tools/analyze_logs.py plot_curve WORK_DIR --keys loss``."""

import argparse
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import matplotlib
from matplotlib import pyplot as plt

from mmmamba.analysis.logs import plot_curves, train_time
from mmmamba.engine import UserError, one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Analyse the logs of training.')
    tasks = parser.add_subparsers(dest='task', required=True)
    curves = tasks.add_parser('plot_curve', help='draw curves')
    curves.add_argument('json_logs', nargs='+', help='work directories or their vis_data/scalars.json')
    curves.add_argument('--keys', nargs='+', default=['loss'], help='loss, lr, coco/bbox_mAP, mIoU ...; default: loss')
    curves.add_argument('--start-epoch', type=int, default=1, help='leave out what lies before it')
    curves.add_argument('--window-size', type=int, default=1, help='values to average')
    curves.add_argument('--title', help='of the figure')
    curves.add_argument('--legend', nargs='+', help='a name for each curve, those of the first log first')
    curves.add_argument('--style', default='default', help='of matplotlib')
    curves.add_argument('--out', default='curves.png', help='the picture; default: curves.png')
    times = tasks.add_parser('cal_train_time', help='seconds an iteration')
    times.add_argument('json_logs', nargs='+', help='work directories or their vis_data/scalars.json')
    times.add_argument('--include-outliers', action='store_true', help='count the first record of each epoch')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        if args.task == 'cal_train_time':
            for log in args.json_logs:
                seconds = train_time(log, include_outliers=args.include_outliers)
                print(f'{log}: ' + ', '.join(f'{name} {value:.4f} s/iter' for name, value in seconds.items()))
            return
        if args.style not in ('default', *matplotlib.style.available):
            raise UserError(f'--style {args.style!r} is not one of {", ".join(matplotlib.style.available)}')
        with plt.style.context(args.style):
            figure = plot_curves(
                args.json_logs,
                args.keys,
                legend=args.legend,
                title=args.title,
                window=args.window_size,
                start_epoch=args.start_epoch,
            )
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(args.out)
    print(args.out)


if __name__ == '__main__':
    main()
