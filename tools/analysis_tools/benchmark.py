"""Throughput, latency and peak memory of models: ``benchmark.py VMamba:tiny timm:convnext_tiny --device cuda``."""

import argparse
import itertools
import json
import re
import shlex
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.benchmark import DTYPES, MODES, RUNS, Cell, benchmark, plot, table, to_json
from mmmamba.analysis.benchmark_models import KINDS
from mmmamba.engine import one_line_errors
from mmmamba.engine.arguments import device, positive


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare the speed of models; first each has to be right.')
    parser.add_argument('models', nargs='*', default=['VMamba:tiny'], help=KINDS)
    parser.add_argument(
        '--sizes',
        nargs='+',
        type=_size,
        default=[(224, 224)],
        help='such as 224 800x1280 (HxW), of clips 32x224x224 (TxHxW)',
    )
    parser.add_argument(
        '--batches', nargs='+', type=positive, default=[1, 64], help='images at a time; 1 for the latency'
    )
    parser.add_argument('--modes', nargs='+', choices=MODES, default=list(MODES), help='training is forward + backward')
    parser.add_argument('--runs', nargs='+', choices=RUNS, default=['eager'], help='graph: replay of a CUDA graph')
    parser.add_argument('--dtypes', nargs='+', choices=DTYPES, default=['fp32'], help='bf16 and fp16 by autocast')
    parser.add_argument('--rounds', type=positive, default=5, help='the median is taken over them')
    parser.add_argument('--device', default='cpu', type=device, help='cpu or cuda')
    parser.add_argument('--out', type=Path, default=Path('work_dirs/benchmark'), help='folder of table, json and plot')
    return parser.parse_args()


def _size(text: str) -> tuple[int, ...]:
    if re.fullmatch(r'[1-9]\d*(x[1-9]\d*){0,2}', text) is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size such as 224, 800x1280 (height x width) or 32x224x224 (frames before them)'
        )
    sides = tuple(map(int, text.split('x')))
    return sides if len(sides) > 1 else sides * 2


def main() -> None:
    args = parse_args()
    choices = itertools.product(args.modes, args.runs, args.sizes, args.batches, args.dtypes)
    cells = [Cell(*choice) for choice in choices]
    command = shlex.join(['benchmark.py', *sys.argv[1:]])
    rows = []
    with one_line_errors():
        args.out.mkdir(parents=True, exist_ok=True)
        for row in benchmark(args.models, cells, args.device, args.rounds):
            rows.append(row)
            print(f'{row.model}, {row.cell}: {row.problem or f"{row.images_per_second:.1f} img/s"}', flush=True)
            (args.out / 'benchmark.json').write_text(json.dumps(to_json(rows, args.device, command), indent=1))
    report = table(rows, args.device)
    (args.out / 'benchmark.md').write_text(f'{report}\n\n    {command}\n')
    plot(rows, args.device, args.out / 'benchmark.png')
    print(f'\n{report}\n\nwritten: {args.out}/benchmark.md, benchmark.json, benchmark.png')
    sys.exit(any(row.problem and row.problem.startswith(('wrong', 'failed')) for row in rows))


if __name__ == '__main__':
    main()
