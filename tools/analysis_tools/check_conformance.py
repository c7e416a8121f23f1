"""Compare our models with golden outputs of the authors' code: ``check_conformance.py FOLDER...``."""

import argparse
import sys

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import torch

from mmmamba.checkpoints.conformance import judge, read_cases
from mmmamba.engine.arguments import device
from mmmamba.ops import BACKENDS


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare models with golden outputs of the authors' code.")
    parser.add_argument(
        'folders', nargs='+', help='folders with cases (VARIANT.json beside VARIANT.npz), or json files'
    )
    parser.add_argument('--device', default='cpu', type=device, help='cpu or cuda')
    parser.add_argument('--backend', default='auto', choices=('auto', *BACKENDS), help='implementation of the scans')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    passed, failed = 0, 0
    for folder in args.folders:
        try:
            for case in read_cases(folder):
                try:
                    verdicts = list(judge(case, args.device, args.backend))
                except Exception as error:  # whatever it is, the other cases are judged
                    print(f'FAIL  {case.name}: {type(error).__name__}: {error}', flush=True)
                    failed += 1
                    continue
                for verdict in verdicts:
                    print(verdict, flush=True)
                    passed, failed = passed + verdict.passed, failed + (not verdict.passed)
        except FileNotFoundError as error:
            sys.exit(f'error: {error}')
    print(f'{passed} passed, {failed} failed')
    sys.exit(failed > 0)


if __name__ == '__main__':
    main()
