"""Write docs/model_zoo.md and its figure from the metafiles: ``python tools/misc/model_zoo.py``."""

import argparse
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.model_zoo import page, plot, read_models, read_references, read_throughput, speeds
from mmmamba.engine import UserError, one_line_errors

ROOT = Path(__file__).parents[2]
BENCHMARK = ROOT / 'docs/benchmark.json'


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--root', type=Path, default=ROOT, help='of the repository with model-index.yml')
    parser.add_argument('--references', type=Path, default=ROOT / 'docs/reference_models.yml', help='other models')
    parser.add_argument(
        '--benchmark',
        type=Path,
        default=BENCHMARK if BENCHMARK.is_file() else None,
        help='benchmark.json of tools/analysis_tools/benchmark.py; default: docs/benchmark.json, if there is one',
    )
    parser.add_argument('--out', type=Path, default=ROOT / 'docs', help='folder for model_zoo.md and model_zoo.png')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        for file in filter(None, (args.root / 'model-index.yml', args.references, args.benchmark)):
            if not file.is_file():
                raise UserError(f'{str(file)!r} does not exist; --root, --references and --benchmark say where to look')
        device, throughput = read_throughput(args.benchmark) if args.benchmark else (None, {})
        speed = speeds(args.benchmark) if args.benchmark else ''
        models = read_models(args.root, find_speeds=bool(throughput))
        references = read_references(args.references)
        args.out.mkdir(parents=True, exist_ok=True)
        (args.out / 'model_zoo.md').write_text(page(models, references, throughput, device, speed))
        plot(models, references, throughput, device, args.out / 'model_zoo.png')
        print(f'{args.out / "model_zoo.md"}: {len(models)} models of {len({m.family for m in models})} families')


if __name__ == '__main__':
    main()
