"""Metrics of dumped predictions: ``python tools/analysis_tools/eval_metric.py CONFIG RESULTS.pkl``."""

import argparse
import json
from pathlib import Path

import mmmamba  # noqa: F401 - before torch and mmcv: it readies OpenMP and mmcv's ops

# isort: split
from mmmamba.analysis.results import evaluate_results
from mmmamba.engine import ConfigOptions, one_line_errors
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description='Evaluate predictions that tools/test.py --out wrote.')
    parser.add_argument('config', help='config that they were made with; --cfg-options changes its test_evaluator')
    parser.add_argument('pkl_results', help='the .pkl, or of a segmentor the folder of label maps')
    parser.add_argument('--out', help='json file for the metrics')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, help='override config entries: key.sub=value')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        check_data_paths(cfg, ('test_dataloader',))
        metrics = evaluate_results(cfg, args.pkl_results)
        print(json.dumps(metrics, indent=1, default=float))
        if args.out:
            Path(args.out).parent.mkdir(parents=True, exist_ok=True)
            Path(args.out).write_text(json.dumps(metrics, indent=1, default=float))


if __name__ == '__main__':
    main()
