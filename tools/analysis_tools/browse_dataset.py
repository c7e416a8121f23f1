"""Training data as the pipeline makes them: ``python tools/analysis_tools/browse_dataset.py CONFIG -o DIR``."""

import argparse
import os
import sys

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.browse import browse
from mmmamba.engine import ConfigOptions, UserError, one_line_errors
from mmmamba.engine.arguments import positive
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw samples with their labels.')
    parser.add_argument('config', help='config file, or the name of a config of ours')
    parser.add_argument('--output-dir', '-o', help='folder for the pictures')
    parser.add_argument('--not-show', action='store_true', help='open no window')
    parser.add_argument('--phase', '-p', choices=['train', 'val', 'test'], default='train', help='default: train')
    parser.add_argument('--show-number', '-n', type=positive, help='how many samples; default: all')
    parser.add_argument('--show-interval', '-i', type=float, default=2, help='seconds for each in the window')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    # A window on a machine without a display shows nothing and takes its seconds all the same.
    headless = sys.platform == 'linux' and not (os.environ.get('DISPLAY') or os.environ.get('WAYLAND_DISPLAY'))
    show = not args.not_show and not headless
    with one_line_errors():
        if not show and args.output_dir is None:
            why = '--not-show' if args.not_show else 'no display'
            raise UserError(f'{why} and no --output-dir leaves nothing to do; name a folder: -o DIR')
        cfg = load_config(args.config, args.cfg_options)
        check_data_paths(cfg, (f'{args.phase}_dataloader',))
        drawn = browse(
            cfg,
            phase=args.phase,
            out_dir=args.output_dir,
            number=args.show_number,
            show_interval=args.show_interval if show else None,
            report=lambda line: print(line, file=sys.stderr),
        )
    print(f'{drawn} samples' + (f' in {args.output_dir}' if args.output_dir else ''))


if __name__ == '__main__':
    main()
