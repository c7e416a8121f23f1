"""What is wrong with a data set, before training finds out: ``python tools/misc/check_dataset.py CONFIG``."""

import argparse
import json
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.dataset_check import check_data, draw_examples
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Look for unreadable files, wrong labels, empty boxes; count classes.')
    parser.add_argument('config', help='config file, or the name of a config of ours')
    parser.add_argument('--phase', '-p', choices=['train', 'val', 'test'], default='train', help='default: train')
    parser.add_argument('--annotations-only', action='store_true', help='read no image and no label map: seconds')
    parser.add_argument('--out-dir', help='for report.json and classes/, a picture for every class')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_data_paths(cfg, (f'{args.phase}_dataloader',))
        found = check_data(
            cfg,
            args.phase,
            read_files=not args.annotations_only,
            report=lambda line: print(line, file=sys.stderr),
        )
        print('\n'.join(found.lines()))
        if args.out_dir:
            pictures = draw_examples(found, Path(args.out_dir, 'classes'))
            Path(args.out_dir, 'report.json').write_text(json.dumps(found.as_dict(), indent=1))
            print(f'{len(pictures)} pictures in {args.out_dir}/classes')
        if found.problems:
            sys.exit(1)


if __name__ == '__main__':
    main()
