"""Write a model as ONNX and check it in onnxruntime: ``export_onnx.py CONFIG [CKPT] --size 224 224 --out model.onnx``.

Classifiers and segmentors export whole, up to their logits; of a detector, the backbone (``--part backbone``).
"""

import argparse
from pathlib import Path

from mmmamba.apis import get_model
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.arguments import positive
from mmmamba.engine.config import load_config
from mmmamba.export import PARTS, export_onnx


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('config', help='config file, or the name of one of ours')
    parser.add_argument('checkpoint', nargs='?', help='weights; without, the model is a fresh one')
    parser.add_argument('--size', nargs=2, type=positive, default=(224, 224), metavar=('H', 'W'), help='of the images')
    parser.add_argument('--batch', type=positive, default=1, help='images at a time (default: %(default)s)')
    parser.add_argument('--part', choices=PARTS, default='model', help='what to export (default: %(default)s)')
    parser.add_argument('--out', help='file to write; default: CONFIG.onnx')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    out = args.out or f'{Path(args.config).stem}.onnx'
    with one_line_errors():
        model = get_model(load_config(args.config, args.cfg_options), args.checkpoint or False)
        print('exporting, a minute for a model of common size ...', flush=True)
        for output in export_onnx(model, tuple(args.size), out, part=args.part, batch=args.batch):
            print(f'{output.name} {output.shape}: onnxruntime differs from PyTorch by {output.error:.1e}')
    print(f'wrote {out}')


if __name__ == '__main__':
    main()
