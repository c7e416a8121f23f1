"""Effective receptive fields side by side: ``python tools/analysis_tools/vis_erf.py CONFIG... --images FOLDER``."""

import argparse
import json
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
import torch

from mmmamba.analysis.images import preprocess, read_image
from mmmamba.analysis.receptive_field import THRESHOLDS, area_ratio, plot_fields, receptive_field
from mmmamba.apis import get_model
from mmmamba.apis.files import IMAGES
from mmmamba.engine import ConfigOptions, UserError, one_line_errors
from mmmamba.engine.arguments import device, positive
from mmmamba.engine.config import load_config
from mmmamba.engine.progress import tracked


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='How much each pixel of the image moves the centre of the last map.')
    parser.add_argument('configs', nargs='+', help='config files, or names of configs of ours')
    parser.add_argument('--checkpoints', nargs='+', default=[], help='one for each config; none: before training')
    parser.add_argument('--images', help='folder of images; none: noise')
    parser.add_argument('--num-images', type=positive, default=50, help='at most; default: 50')
    parser.add_argument('--size', nargs=2, type=positive, default=[224, 224], metavar=('HEIGHT', 'WIDTH'))
    parser.add_argument('--index', type=int, default=-1, help="which of the backbone's maps; default: the last")
    parser.add_argument('--out', default='erf.png', help='the picture; figures go to the .json beside it')
    parser.add_argument('--device', default='cpu', type=device)
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def _files(args: argparse.Namespace) -> list[Path]:
    files = sorted(file for file in Path(args.images).rglob('*') if file.suffix.lower() in IMAGES)[: args.num_images]
    if not files:
        raise UserError(f'no image in the folder {args.images!r}')
    return files


def main() -> None:
    args = parse_args()
    size, fields = tuple(args.size), {}
    with one_line_errors():
        if args.checkpoints and len(args.checkpoints) != len(args.configs):
            raise UserError(
                f'{len(args.checkpoints)} checkpoints for {len(args.configs)} configs; give one each, or none'
            )
        files = _files(args) if args.images else []
        noise = torch.Generator().manual_seed(0)
        noises = [torch.randn(1, 3, *size, generator=noise) for _ in range(0 if files else args.num_images)]
        for i, config in enumerate(args.configs):
            cfg = load_config(config, args.cfg_options)
            model = get_model(cfg, args.checkpoints[i] if args.checkpoints else False, device=args.device)
            images = (preprocess(model, [read_image(file, size)]) for file in files)
            batches = images if files else (batch.to(args.device) for batch in noises)
            name = Path(config).stem if Path(config).stem not in fields else f'{Path(config).stem} {i}'
            print(f'{name}: {len(files or noises)} {"images" if files else "images of noise"}', file=sys.stderr)
            fields[name] = receptive_field(
                model.backbone,
                tracked(batches, len(files or noises), lambda line: print(line, file=sys.stderr), 'images'),
                args.index,
            )
        out = Path(args.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        plot_fields(list(fields.values()), list(fields)).savefig(out)
        ratios = {name: {str(t): area_ratio(field, t) for t in THRESHOLDS} for name, field in fields.items()}
        out.with_suffix('.json').write_text(json.dumps(ratios, indent=1))
        for name, ratio in ratios.items():
            print(
                f'{name}: area with ' + ', '.join(f'{float(t):.0%} of the gradient {r:.1%}' for t, r in ratio.items())
            )


if __name__ == '__main__':
    main()
