"""The benchmark of the scans: its baseline, its gate, its tool."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmmamba.analysis import op_benchmark
from mmmamba.analysis.op_benchmark import (
    LOOP,
    Shape,
    check,
    implementations,
    make_inputs,
    measure,
    parse_shape,
    step_loop,
)
from mmmamba.ops import reference
from mmmamba.ops.selective_scan import torch_path

ROOT = Path(__file__).parents[2]
CPU = torch.device('cpu')


def test_a_shape_is_read_and_written():
    assert parse_shape('2,4,96,56x48,16') == Shape(2, 4, 96, 56, 48, 16)
    assert str(parse_shape('2, 4, 96, 56x48, 16')) == '2,4,96,56x48,16'


@pytest.mark.parametrize(
    'text', ['', '2,4,96,56,1', '2,3,96,56x56,1', '0,4,96,56x56,1', '2,4,96,56x56,1,1', 'a,4,96,56x56,1']
)
def test_another_text_is_refused(text):
    with pytest.raises(ValueError, match=f"shape '{text}' is not BATCH,ROUTES,CHANNELS,HEIGHTxWIDTH,D_STATE with"):
        parse_shape(text)


@pytest.mark.parametrize('shape', [(1, 1, 3, 1, 1, 1), (2, 4, 20, 3, 5, 3)], ids=str)
def test_step_loop_matches_the_reference(shape):
    inputs = make_inputs(Shape(*shape), CPU)
    exact = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
    torch.testing.assert_close(step_loop(**exact), reference.selective_scan_2d(**exact), rtol=1e-12, atol=1e-12)


def test_every_backend_of_the_cpu_is_timed_beside_the_loop():
    assert list(implementations(CPU)) == [LOOP, 'numba', 'torch']


def test_a_right_answer_passes_the_gate():
    errors = check(implementations(CPU), CPU)
    assert set(errors) == {LOOP, 'numba', 'torch'}
    assert 0 < max(errors.values()) < 1e-5


@pytest.mark.parametrize('part', ['scan_forward', 'scan_backward'])
def test_a_wrong_answer_is_not_timed(monkeypatch, part):
    right = getattr(torch_path, part)

    def wrong(*args):
        found = right(*args)
        return found * 1.0001 if isinstance(found, torch.Tensor) else (found[0] * 1.0001, *found[1:])

    monkeypatch.setattr(torch_path, part, wrong)
    with pytest.raises(ArithmeticError, match=r"not timed: relative errors .* above 1e-05: \{'torch': "):
        check(implementations(CPU), CPU)


def test_speedup_is_the_time_of_the_loop_over_the_time(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(op_benchmark.time, 'perf_counter', lambda: next(clock) ** 2 / 1000)
    timings = measure(implementations(CPU), Shape(1, 1, 3, 2, 2, 1), CPU, rounds=2)
    by_name = {(t.what, t.implementation): t for t in timings}
    assert len(timings) == 6
    for what in op_benchmark.PASSES:
        loop = by_name[what, LOOP]
        assert loop.speedup == 1
        assert by_name[what, 'numba'].speedup == loop.milliseconds / by_name[what, 'numba'].milliseconds
        assert by_name[what, 'torch'].milliseconds > by_name[what, 'numba'].milliseconds > loop.milliseconds  # in turns


def run_tool(*arguments):
    tool = ROOT / 'tools' / 'analysis_tools' / 'benchmark_ops.py'
    return subprocess.run(
        [sys.executable, tool, *arguments], env={**os.environ, 'PYTHONPATH': str(ROOT)}, capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip


def test_tool_prints_a_table_and_writes_the_figures(tmp_path):
    path = tmp_path / 'figures.json'
    done = run_tool('--shape', '1,4,8,5x7,1', '--shape', '1,2,8,3x3,2', '--rounds', '1', '--json', path)
    assert done.returncode == 0, done.stderr
    first, second, head, *rows = done.stdout.splitlines()
    assert first.startswith('device ')
    assert f'torch {torch.__version__}' in first
    assert second.startswith('relative errors: step loop ')
    assert head.split() == ['B,K,E,HxW,N', 'pass', 'ms', 'loop', '/', 'it']
    figures = json.loads(path.read_text())
    assert len(rows) == len(figures['timings']) == 12
    assert {t['shape'] for t in figures['timings']} == {'1,4,8,5x7,1', '1,2,8,3x3,2'}
    assert figures['threads'] == torch.get_num_threads()


def test_tool_refuses_a_shape_in_one_line():
    done = run_tool('--shape', '1,4,8')
    assert done.returncode == 2
    assert "argument --shape: shape '1,4,8' is not BATCH,ROUTES" in done.stderr.splitlines()[-1]


@pytest.mark.skipif(torch.cuda.is_available(), reason='this machine has a CUDA device')
def test_tool_says_that_there_is_no_cuda_device():
    done = run_tool('--device', 'cuda')
    assert done.returncode == 2
    assert done.stderr.endswith("--device: 'cuda': this machine has no CUDA devices; run with --device cpu\n")


@pytest.mark.slow
def test_numba_is_8_times_as_fast_as_the_loop_forward_and_5_times_with_the_gradient():
    timings = measure(implementations(CPU), op_benchmark.DEFAULT_SHAPES[0], CPU)
    speedups = {t.what: t.speedup for t in timings if t.implementation == 'numba'}
    assert speedups['forward'] >= 8
    assert speedups['forward+backward'] >= 5


def test_floors_of_the_cuda_table_are_the_bytes_of_its_tensors():
    from mmmamba.analysis.op_benchmark_cuda import Case, _bytes

    shape = Shape(2, 4, 32, 3, 5, 1)
    one, projected = 2 * 15 * 32 * 2, 2 * 15 * 4 * (2 + 2) * 2
    assert _bytes(Case('', shape, True, (1, 1))) == (2 * one + 2 * projected, 5 * one + 5 * projected)
    one, states = 2 * 15 * 4 * 32 * 2, 2 * (2 * 15 * 4) * 2
    assert _bytes(Case('', shape, False, (1, 1))) == (3 * one + states, 5 * one + 2 * states)


def test_the_cuda_table_marks_what_it_has_not_measured():
    from mmmamba.analysis.op_benchmark_cuda import CASES, HEADER, Row, line

    assert len({case.name for case in CASES}) == len(CASES)
    assert 'recorded' in HEADER
    row = line(Row('scan', '1,1,1,1x1,1', 'forward', 0.5, 0.1, 2.0, None))
    assert row.count('|') == HEADER.splitlines()[0].count('|')
    assert row == '| scan | 1,1,1,1x1,1 | forward | 0.500 | 0.100 | 2.000 | 4.0 | - |'
