"""Time the 2-D selective scan on every backend: python tools/analysis_tools/benchmark_ops.py --device cpu"""

import argparse
import json
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before torch: it readies OpenMP

# isort: split
from mmmamba.analysis import op_benchmark, op_benchmark_cuda
from mmmamba.engine import one_line_errors
from mmmamba.engine.arguments import device, positive


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--device', default='cpu', type=device, help='cpu or cuda')
    parser.add_argument(
        '--shape',
        dest='shapes',
        action='append',
        type=_shape,
        metavar='B,K,E,HxW,N',
        help='batch, routes, channels, map and d_state, such as 2,4,96,56x56,1; may be given again',
    )
    parser.add_argument('--rounds', type=positive, default=7, help='runs of each implementation after warm-up')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures there as well')
    return parser.parse_args()


def _shape(text: str) -> op_benchmark.Shape:
    try:
        return op_benchmark.parse_shape(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main() -> int:
    args = parse_args()
    functions = op_benchmark.implementations(args.device)
    try:
        errors = op_benchmark.check(functions, args.device)
    except ArithmeticError as error:
        print(error, file=sys.stderr)
        return 1
    print(', '.join(f'{key} {value}' for key, value in op_benchmark.describe(args.device).items()))
    print('relative errors:', ', '.join(f'{name} {error:.1e}' for name, error in errors.items()))
    if args.device.type == 'cuda' and args.shapes is None:
        rows = []
        print(op_benchmark_cuda.HEADER)
        for row in op_benchmark_cuda.measure(op_benchmark_cuda.CASES, args.rounds):
            print(op_benchmark_cuda.line(row), flush=True)
            rows.append(row)
        figures = op_benchmark_cuda.report(rows, args.device)
    else:
        timings = []
        for shape in args.shapes or op_benchmark.DEFAULT_SHAPES:
            timings += op_benchmark.measure(functions, shape, args.device, args.rounds)
        print(*op_benchmark.table(timings), sep='\n')
        figures = op_benchmark.report(timings, errors, args.device)
    if args.json:
        with one_line_errors():
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(figures, indent=2))
    return 0


if __name__ == '__main__':
    sys.exit(main())
