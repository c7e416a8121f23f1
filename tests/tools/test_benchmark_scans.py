"""The comparison of scans."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmmamba.analysis.scan_benchmark import Run, plot, scans_over_maps, short_run, spread, summarise, table
from mmmamba.scans import NAMED_SCHEDULES, SCAN_MODULES

ROOT = Path(__file__).parents[2]
CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=2),
    backbone=dict(type='mmmamba.VMamba', arch=dict(embed_dims=[8, 16], depths=[1, 1], patch_size=2), out_indices=(1,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16, loss=dict(type='CrossEntropyLoss')))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='train',
                 pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
val_dataloader = dict(train_dataloader, sampler=dict(type='DefaultSampler', shuffle=False))
val_evaluator = dict(type='Accuracy', topk=(1,))
train_cfg, val_cfg = dict(by_epoch=True, max_epochs=2), dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
custom_hooks = [dict(type='EMAHook'), dict(type='RuntimeInfoHook')]
"""


@pytest.fixture
def config(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / 'images' / 'train' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    file = tmp_path / 'tiny.py'
    file.write_text(CONFIG.format(root=str(tmp_path / 'images')))
    return file


def run_tool(*arguments):
    command = [sys.executable, 'tools/analysis_tools/benchmark_scans.py', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def test_tool_writes_table_json_and_plot(config, tmp_path):
    out = tmp_path / 'out'
    done = run_tool(
        *('--config', config, '--scans', 'cross', 'per_stage:atrous/raster+snake', '--seeds', '7'),
        *('--iterations', '4', '--metric', 'accuracy/top1', '--out', out),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((out / 'scans.json').read_text())
    assert [run['scan'] for run in result['runs']] == ['cross', 'per_stage:atrous/raster+snake']
    assert all(0 <= run['metric'] <= 100 and run['images_per_second'] > 0 for run in result['runs'])
    assert all(run['peak_memory_mb'] > 0 and run['cpu_ms_per_image'] > 0 for run in result['runs'])
    assert [summary['seeds'] for summary in result['summaries']] == [[7]] * 2
    assert result['settings']['iterations'] == 4
    assert '| `cross` |' in (out / 'scans.md').read_text()
    assert 'there is no spread to judge a difference by' in done.stdout
    assert (out / 'scans.png').stat().st_size > 5000


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--scans', 'zebra'), "error: scan or route 'zebra' is unknown; scans: "),
    (('--config', 'nothing.py'), "error: config 'nothing.py' does not exist"),
])  # fmt: skip
def test_what_does_not_exist_is_one_line(arguments, message, tmp_path):
    done = run_tool('--out', tmp_path, *arguments)
    assert done.returncode == 1
    assert message in done.stderr
    assert 'Traceback' not in done.stderr


def test_all_scans_are_compared_unless_said():
    assert {'cross', 'hierarchical', *NAMED_SCHEDULES, *SCAN_MODULES.module_dict} <= set(scans_over_maps())
    assert 'spatiotemporal' not in scans_over_maps()


def test_a_short_run_has_the_budget_and_leaves_the_config_alone(config, tmp_path):
    cfg = Config.fromfile(config)
    short = short_run(cfg, 'atrous', 3, 50, str(tmp_path))
    assert short.model.backbone.scan == 'atrous'
    assert 'scan' not in cfg.model.backbone
    assert short.train_cfg.max_iters == short.train_cfg.val_interval == 50
    assert short.param_scheduler[1].end == 50
    assert [hook.type for hook in short.custom_hooks] == ['RuntimeInfoHook']  # averages lag behind a short training
    assert len(cfg.custom_hooks) == 2


def runs(**metrics):
    return [Run(scan, seed, metric, 100.0, 5.0, 200.0 + seed, 1000)
            for scan, values in metrics.items() for seed, metric in enumerate(values)]  # fmt: skip


def test_summary_has_mean_spread_and_range():
    (cross, other) = summarise(runs(cross=[10.0, 20.0, 60.0], other=[50.0, 50.0, 50.0]))
    assert (cross.metric_mean, cross.metric_min, cross.metric_max) == (30, 10, 60)
    assert cross.metric_std == pytest.approx(math.sqrt((400 + 100 + 900) / 2))
    assert cross.peak_memory_mb == 202
    assert other.metric_std == 0


def test_table_has_the_best_first():
    lines = table(summarise(runs(cross=[10.0, 20.0], other=[50.0, 52.0]))).splitlines()
    assert lines[2].startswith('| `other` | 51.0 ± 1.4 | 50.0 - 52.0 |')
    assert lines[3].startswith('| `cross` | 15.0 ± 7.1 |')


def test_spread_says_what_chance_alone_would_do():
    said = spread(summarise(runs(a=[10.0, 20.0], b=[12.0, 26.0])))
    assert 'one scan 8.6, between the means of the scans 2.8;' in said
    assert 'means of 2 seeds of the same model would differ by 6.1' in said
    assert 'no spread to judge a difference by' in spread(summarise(runs(a=[10.0], b=[12.0])))


def test_plot_is_written(tmp_path):
    plot(runs(cross=[10.0, 20.0], other=[50.0, 52.0]), tmp_path / 'plot.png')
    with Image.open(tmp_path / 'plot.png') as image:
        assert image.size[0] > 800
