"""The whole of a config, its bases merged: ``python tools/misc/print_config.py CONFIG``."""

import argparse
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.engine import ConfigOptions, UserError, one_line_errors
from mmmamba.engine.config import load_config

FORMATS = ('.py', '.json', '.yml')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Print the whole of a config.')
    parser.add_argument('config', help='config file, or the name of a config of ours')
    parser.add_argument('--save-path', help='write it to this file (.py, .json or .yml) as well')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        if args.save_path and not args.save_path.endswith(FORMATS):
            raise UserError(f'--save-path {args.save_path!r} must end in {", ".join(FORMATS)}')
        cfg = load_config(args.config, args.cfg_options)
        print(cfg.pretty_text)
        if args.save_path:
            Path(args.save_path).parent.mkdir(parents=True, exist_ok=True)
            cfg.dump(args.save_path)


if __name__ == '__main__':
    main()
