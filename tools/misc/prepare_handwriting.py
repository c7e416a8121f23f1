"""Write the embedded demo's data: COCO, ADE20K and ImageNet layouts of scanned digits. Nothing is downloaded."""

import argparse
import sys
import time

from mmmamba.datasets import Settings, prepare_handwriting
from mmmamba.engine import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', default='data/handwriting', help='folder to write (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='of the split and the scenes; the demo uses 0')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    try:
        with one_line_errors():
            written = prepare_handwriting(
                args.out, Settings(seed=args.seed), report=lambda line: print(line, flush=True)
            )
    except FileExistsError as error:
        sys.exit(f'error: {error}')
    if written:
        print(f'wrote {args.out} in {time.perf_counter() - start:.0f} s; {args.out}/README.md says what it holds')
    else:
        print(f'{args.out} is there and complete')


if __name__ == '__main__':
    main()
