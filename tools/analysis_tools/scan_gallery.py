"""Draw every route, all in one figure and each in a file of its own: ``scan_gallery.py [--out DIR]``."""

import argparse

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.scan_gallery import draw_gallery
from mmmamba.engine import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Draw every route over a square, an oblong map and through a volume.')
    parser.add_argument('--out', default='work_dirs/scan_gallery', help='folder')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        files = draw_gallery(args.out)
    print(f'{files[0]} and {len(files) - 1} files beside it')


if __name__ == '__main__':
    main()
