"""Train a model of mmdet, mmseg or mmpretrain: ``python tools/train.py configs/FAMILY/CONFIG.py``."""

import argparse
import os

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.dataset_check import require_good_data
from mmmamba.engine import ConfigOptions, one_line_errors, train
from mmmamba.engine.config import load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Train a detector, segmentor or classifier.')
    parser.add_argument('config', help='config file')
    parser.add_argument('--work-dir', help='for logs and checkpoints; default: work_dirs/CONFIG')
    parser.add_argument('--amp', action='store_true', help='mixed precision (bf16; fp16 on GPUs that have no bf16)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CKPT',
        help='continue from this checkpoint, or from the latest in the work directory',
    )
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    parser.add_argument('--check-data', action='store_true', help='go through all annotations first: seconds')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    parser.add_argument('--local_rank', '--local-rank', default='0', help='set by old versions of the launcher')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    os.environ.setdefault('LOCAL_RANK', args.local_rank)
    with one_line_errors():
        if args.check_data:
            require_good_data(load_config(args.config, args.cfg_options))
        train(
            args.config,
            work_dir=args.work_dir,
            amp=args.amp,
            resume=args.resume,
            auto_scale_lr=args.auto_scale_lr,
            options=args.cfg_options,
            launcher=args.launcher,
        )


if __name__ == '__main__':
    main()
