"""The comparison of whole models, on the CPU with small ones."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mmmamba.analysis import benchmark as room
from mmmamba.analysis.benchmark import Cell, Row, benchmark, plot, table
from mmmamba.analysis.benchmark_models import PooledClassifier, expand, find_model, is_ours, takes_clips
from mmmamba.engine import UserError
from mmmamba.models import VMamba, backbones
from mmmamba.registry import MODELS

ROOT = Path(__file__).parents[2]
CPU = torch.device('cpu')
INFERENCE = Cell('inference', 'eager', (16, 24), 2, 'fp32')


def tiny(size=(16, 24)):
    torch.manual_seed(0)
    model = PooledClassifier(VMamba(dict(embed_dims=[8, 16], depths=[1, 1]), out_indices=(1,)))
    model(torch.zeros(1, 3, *size))
    return model


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch):
    monkeypatch.setattr(room, 'SECONDS_PER_ROUND', 0.0)
    monkeypatch.setattr(room, 'find_model', lambda spec: tiny)


@pytest.mark.parametrize('mode', room.MODES)
@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_a_model_is_checked_and_timed(mode, dtype):
    (row,) = benchmark(['a'], [Cell(mode, 'eager', (16, 24), 2, dtype)], CPU, rounds=3)
    assert row.problem is None
    assert row.images_per_second == pytest.approx(2e3 / row.milliseconds)
    assert 0 < row.error < 0.1 if dtype == 'bf16' else row.error < 1e-5
    assert row.peak_mib is None


def test_a_model_of_clips_is_checked_and_timed(monkeypatch):
    arch = dict(embed_dims=16, num_layers=2, img_size=32, num_frames=4, d_state=4)
    config = dict(type='MambaND3D', arch=arch)
    monkeypatch.setattr(room, 'find_model', lambda spec: lambda size: PooledClassifier(MODELS.build(config)))
    cells = [Cell(mode, 'eager', (4, 32, 48), 2, 'fp32') for mode in room.MODES]
    rows = list(benchmark(['MambaND3D:small'], cells, CPU, rounds=1))
    assert [row.problem for row in rows] == [None, None]
    assert str(rows[0].cell) == 'inference eager fp32 2x4x32x48'


@pytest.mark.parametrize(('spec', 'size', 'message'), [
    ('MambaND3D:small', (32, 48), 'takes clips, which have no size 32x48; give sizes such as 32x224x224'),
    ('VMamba:tiny', (4, 32, 48), 'takes images, which have no size 4x32x48; give sizes such as 224x224'),
])  # fmt: skip
def test_a_size_that_the_model_does_not_take_is_named(spec, size, message):
    with pytest.raises(UserError, match=message):
        next(benchmark([spec], [Cell('inference', 'eager', size, 2, 'fp32')], CPU))


def test_clips_have_no_channels_last():
    with pytest.raises(UserError, match='channels_last is a memory format of images'):
        find_model('MambaND3D:small:channels_last')


def test_a_compiled_model_is_checked_and_timed(monkeypatch):
    compiled = []

    def compile_model(model, dynamic):
        compiled.append(model)
        return model

    monkeypatch.setattr(torch, 'compile', compile_model)
    (row,) = benchmark(['a'], [Cell('inference', 'compiled', (16, 24), 2, 'fp32')], CPU, rounds=1)
    assert row.problem is None
    assert len(compiled) == 2  # for the gate and for the clock


@pytest.mark.parametrize('mode', room.MODES)
def test_a_model_that_is_wrong_in_another_precision_is_not_timed(mode, monkeypatch):
    class Wrong(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = tiny()

        def forward(self, x):
            y = self.inner(x)
            return 3 * y if torch.is_autocast_enabled('cpu') else y

    monkeypatch.setattr(room, 'find_model', lambda spec: lambda size: Wrong())
    right, wrong = benchmark(['a'], [Cell(mode, 'eager', (16, 24), 2, dtype) for dtype in ('fp32', 'bf16')], CPU, 1)
    assert right.problem is None
    assert wrong.problem.startswith('wrong: error ')
    assert wrong.milliseconds is None


def test_graphs_need_cuda_and_lack_of_memory_is_a_row(monkeypatch):
    (row,) = benchmark(['a'], [Cell('inference', 'graph', (16, 24), 2, 'fp32')], CPU)
    assert row.problem == 'graphs need CUDA'

    def measure(*arguments):
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(room, '_measure', measure)
    (row,) = benchmark(['a'], [INFERENCE], CPU)
    assert row.problem == 'out of memory'


def test_a_model_that_fails_leaves_the_others_their_turn(monkeypatch):
    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError('no kernel image\nand more')

    monkeypatch.setattr(room, 'find_model', lambda spec: (lambda size: Broken()) if spec == 'a' else tiny)
    broken, fine = benchmark(['a', 'b'], [INFERENCE], CPU, rounds=1)
    assert broken.problem == 'failed: no kernel image'
    assert fine.problem is None


def test_stars_stand_for_every_published_architecture_once():
    assert expand(['a', 'timm:b', 'VMamba:tiny']) == ['a', 'timm:b', 'VMamba:tiny']
    ours = expand(['VMamba:*'])
    assert len(ours) == 9  # not the three short names
    assert {spec.split(':')[0] for spec in expand(['*'])} == set(backbones.__all__)
    assert set(ours) < set(expand(['*', 'VMamba:*']))
    assert expand(['MambaND3D:*']) == ['MambaND3D:small', 'MambaND3D:small_k400']


def test_table_has_the_fastest_first_and_says_what_failed():
    rows = [
        Row('slow', INFERENCE, 1e-7, 20.0, 0.1, 100.0, 512.0),
        Row('wrong', INFERENCE, problem='wrong: error 1.0e+00 above 1e-02'),
        Row('fast', INFERENCE, 1e-7, 10.0, 0.1, 200.0, None),
    ]
    lines = table(rows, CPU).splitlines()
    assert 'device' in lines[0]
    assert [line.split(' | ')[1] for line in lines[4:]] == ['fast', 'slow', 'wrong']
    assert lines[4].startswith('| inference eager fp32 2x16x24 | fast | 200 | 10.00 | 10% | – |')
    assert 'wrong: error' in lines[6]


def test_plot_is_written(tmp_path):
    rows = [
        Row(model, Cell(mode, 'eager', (size, size), 2, 'fp32'), 0.0, 1.0, 0.0, 1e5 / size)
        for model in ('a', 'timm:b')
        for mode in room.MODES
        for size in (32, 64)
    ]
    plot(rows, CPU, tmp_path / 'plot.png')
    assert (tmp_path / 'plot.png').stat().st_size > 5000


@pytest.mark.parametrize(('spec', 'message'), [
    ('zebra', r"model 'zebra' is not one of 'VMamba:tiny' .* our backbones: .*VMamba"),
    ('VMamba:zebra', r"model VMamba:zebra: arch 'zebra' is not one of"),
    ('mmpretrain:zebra', r"mmpretrain has no model 'zebra'"),
    ('configs/vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py', r'is of mmdet; a benchmark takes classifiers'),
])  # fmt: skip
def test_models_that_do_not_exist_are_named(spec, message, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(UserError, match=message):
        find_model(spec)


def test_models_of_libraries_that_are_not_installed_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(UserError, match='timm is not installed; pip install timm, or leave its models out'):
        find_model('timm:convnext_tiny')


def test_models_of_several_sources_are_classifiers(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert takes_clips('configs/mamba_nd/mamba-3d-s_8xb16-51e_ucf101.py')
    x = torch.randn(2, 3, 32, 32)
    specs = {
        'configs/vmamba/vmamba-t_8xb128-300e_in1k.py': True,
        'mmpretrain:mobilenet-v2_8xb32_in1k:channels_last': False,
    }
    for spec, ours in specs.items():
        model = find_model(spec)((32, 32))
        assert model(x).shape == (2, 1000)
        assert is_ours(model) == ours
        assert not takes_clips(spec)


def test_tool_writes_table_json_and_plot(tmp_path, monkeypatch, capsys):
    arguments = ['a', 'b', '--sizes', '16x24', '--batches', '1', '2', '--rounds', '1', '--out', str(tmp_path)]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / 'tools/analysis_tools/benchmark.py'), run_name='__main__')
    assert not ended.value.code
    result = json.loads((tmp_path / 'benchmark.json').read_text())
    assert [row['cell']['batch'] for row in result['rows'] if row['model'] == 'a'] == [1, 2, 1, 2]
    assert all(row['cell']['size'] == [16, 24] and row['milliseconds'] > 0 for row in result['rows'])
    assert result['command'].startswith('benchmark.py a b --sizes')
    assert '| inference eager fp32 1x16x24 |' in (tmp_path / 'benchmark.md').read_text()
    assert (tmp_path / 'benchmark.png').stat().st_size > 5000
    assert 'img/s' in capsys.readouterr().out
