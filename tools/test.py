"""Evaluate a model of mmdet, mmseg or mmpretrain: ``python tools/test.py configs/FAMILY/CONFIG.py CHECKPOINT``."""

import argparse
import os

from mmmamba.engine import ConfigOptions, evaluate, one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate a detector, segmentor or classifier.')
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help="file, address or work directory; the authors' files load as well")
    parser.add_argument('--work-dir', help='for logs; default: work_dirs/CONFIG')
    parser.add_argument(
        '--out',
        help='metrics to FILE.json; or predictions: to FILE.pkl (mmdet, mmpretrain), label maps to a folder (mmseg)',
    )
    parser.add_argument('--show-dir', help='folder for pictures of the predictions')
    parser.add_argument('--tta', action='store_true', help="test-time augmentation, the config's or a flip")
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', default='0', help='set by old versions of the launcher')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', args.local_rank)
    with one_line_errors():
        evaluate(
            args.config,
            args.checkpoint,
            work_dir=args.work_dir,
            out=args.out,
            show_dir=args.show_dir,
            tta=args.tta,
            options=args.cfg_options,
            launcher=args.launcher,
        )


if __name__ == '__main__':
    main()
