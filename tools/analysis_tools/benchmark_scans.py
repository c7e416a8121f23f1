"""Train one model briefly with each scan and compare: ``benchmark_scans.py [--scans cross 'window:7' ...]``.

Writes ``scans.json`` (after every run), ``scans.md`` and ``scans.png``.
"""

import argparse
import json
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.scan_benchmark import (
    benchmark_scan,
    plot,
    scans_over_maps,
    single_routes,
    spread,
    summarise,
    table,
    to_json,
)
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.arguments import positive
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths
from mmmamba.layers.scans import StateSpace, build_layer_scan
from mmmamba.scans import scan_of_layer


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Compare scans on one model, data set and budget.')
    parser.add_argument('--config', default='configs/demo/cls_vmamba-nano_handwriting.py')
    parser.add_argument('--scans', nargs='+', metavar='SCAN', help='such as cross window:7 a+b; default: all')
    parser.add_argument('--routes', action='store_true', help='each base route alone as well')
    parser.add_argument('--iterations', type=positive, default=64, help='budget of each training')
    parser.add_argument('--seeds', nargs='+', type=int, default=[0, 1, 2])
    parser.add_argument('--metric', help='as the evaluator names it, such as accuracy/top1; default: its first')
    parser.add_argument('--out', default='work_dirs/benchmark_scans', help='folder')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    with one_line_errors():
        compare(parse_args())


def compare(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    scans = [*(args.scans or scans_over_maps()), *(single_routes() if args.routes else [])]
    for scan in scans:  # before hours of training
        build_layer_scan(scan_of_layer(scan, 0, [1] * (scan.count('/') + 1)), 64, StateSpace())
    check_data_paths(cfg, ('train_dataloader', 'val_dataloader'))
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    settings = dict(vars(args), batch_size=cfg.train_dataloader.batch_size)
    runs = []
    for seed in args.seeds:
        for scan in scans:
            options = dict(name=scan, seed=seed, iterations=args.iterations, metric=args.metric)
            run = benchmark_scan(cfg, scan, work_dir=str(out / 'logs'), **options)
            runs.append(run)
            print(f'{scan} seed {seed}: {run.metric:.2f}, {run.images_per_second:.0f} img/s', flush=True)
            (out / 'scans.json').write_text(json.dumps(to_json(runs, settings), indent=1))
    report = f'{table(summarise(runs))}\n\n{spread(summarise(runs))}\n'
    (out / 'scans.md').write_text(report)
    plot(runs, out / 'scans.png')
    print(report)
    print(f'written: {out}/scans.json, scans.md, scans.png')


if __name__ == '__main__':
    main()
