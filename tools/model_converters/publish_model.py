"""A checkpoint for others: ``python tools/model_converters/publish_model.py epoch_12.pth DIR/NAME.pth``."""

import argparse

from mmmamba.checkpoints.publish import SAVE_KEYS, publish
from mmmamba.engine import one_line_errors


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Keep the weights of a checkpoint; its name gets its sha256.')
    parser.add_argument('in_file', help='checkpoint of a run')
    parser.add_argument('out_file', help='NAME.pth becomes NAME-1a2b3c4d.pth')
    parser.add_argument('--save-keys', nargs='+', default=SAVE_KEYS, help='entries to keep; default: meta state_dict')
    parser.add_argument('--no-ema', action='store_true', help='the weights themselves, not their moving average')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        file, removed = publish(args.in_file, args.out_file, save_keys=args.save_keys, use_ema=not args.no_ema)
    print(f'{file}' + (f'; left out: {", ".join(removed)}' if removed else ''))


if __name__ == '__main__':
    main()
