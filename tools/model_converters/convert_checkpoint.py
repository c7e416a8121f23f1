"""Bring a checkpoint from its authors' layout into ours, or back: ``convert_checkpoint.py IN.pth OUT.pth``.

Training and testing read the authors' files as they are; this is for other programs, and for publishing.
"""

import argparse
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import torch

from mmmamba.checkpoints import convert, load_file
from mmmamba.checkpoints.families import FAMILIES
from mmmamba.engine import one_line_errors

ENTRY = dict(ours='state_dict', published='model')  # what each side's programs look for


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Convert a checkpoint: the authors' layout to ours, ours to theirs.")
    parser.add_argument('checkpoint', help='path or http(s) address of the file; its layout is found out')
    parser.add_argument('out', help='file to write')
    parser.add_argument('--family', choices=[family.name for family in FAMILIES], help='default: found out')
    parser.add_argument('--ema', action='store_true', help='take the moving average that stands beside the weights')
    parser.add_argument(
        '--trust', action='store_true', help='read objects that are not weights as well, which runs the code they hold'
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = Path(args.out)
    if out.exists():
        sys.exit(f'error: {args.out!r} exists; name a new file')
    with one_line_errors():
        result = convert(load_file(args.checkpoint, weights_only=not args.trust), family=args.family, ema=args.ema)
        out.parent.mkdir(parents=True, exist_ok=True)
        torch.save({ENTRY[result.layout]: result.weights}, out)
        print(f'{out}: {result}')


if __name__ == '__main__':
    main()
