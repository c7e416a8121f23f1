"""Parameters and FLOPs of a config's model, module by module: ``get_flops.py configs/FAMILY/CONFIG.py``."""

import argparse
import json
from dataclasses import asdict
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.flops import UNIT, build_on_meta, count_inference, published_size, table
from mmmamba.engine import ConfigOptions, UserError, one_line_errors
from mmmamba.engine.arguments import positive
from mmmamba.engine.config import load_config


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Count the parameters and FLOPs of a model; nothing is computed.')
    parser.add_argument('config', help='config file of a classifier, detector or segmentor')
    parser.add_argument(
        '--size',
        nargs='+',
        type=positive,
        help='height and width of the image, of a clip frames before them; default: what papers give figures for, '
        '224x224, 800x1280 (detection), 512x2048 (segmentation), of a clip what the config is for',
    )
    parser.add_argument('--batch', type=positive, default=1, help='number of images')
    parser.add_argument('--depth', type=int, default=2, help='of nested modules that get a line')
    parser.add_argument('--out', help='json file for the figures of every module')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        model = build_on_meta(cfg)
        published = published_size(model, cfg.default_scope)
        size, sides = tuple(args.size or published), ' x '.join(('frames', 'height', 'width')[-len(published) :])
        if len(size) != len(published):
            raise UserError(f'--size {" ".join(map(str, size))}: this model takes {sides}')
        figures = count_inference(model, size, batch=args.batch)
        print(f'{args.config}, {args.batch} x {" x ".join(map(str, size))} ({sides})')
        print('\n'.join(table(model, figures, args.depth)))
        if args.out:
            modules = {name: asdict(f) | dict(flops=f.flops) for name, f in figures.items()}
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            Path(args.out).write_text(
                json.dumps(dict(config=args.config, size=size, unit=UNIT, modules=modules), indent=1)
            )


if __name__ == '__main__':
    main()
