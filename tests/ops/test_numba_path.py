"""What only the numba backend has: threads, a pool that survives a fork, kernels cached on disk."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import torch
from scan_cases import gradient_of_output, map_inputs, scan_inputs, values_and_gradients

from mmmamba.ops import selective_scan, selective_scan_2d
from mmmamba.ops.selective_scan import numba_path

ROOT = Path(__file__).parents[2]


@pytest.fixture
def set_threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def _run_1d():
    inputs = scan_inputs(0, batch=3, length=130, channels=260, groups=2, d_state=3)
    function = partial(selective_scan, backend='numba', delta_softplus=True)
    return values_and_gradients(function, inputs, gradient_of_output(inputs['u']))


def _run_2d():
    inputs = map_inputs(0, batch=3, size=(9, 13), channels=132)
    return values_and_gradients(partial(selective_scan_2d, backend='numba'), inputs, gradient_of_output(inputs['x']))


@pytest.mark.parametrize('threads', [2, 3, 64])
def test_1d_result_does_not_depend_on_the_number_of_threads(threads, set_threads):
    set_threads(1)
    alone = _run_1d()
    set_threads(threads)
    together = _run_1d()
    assert all(torch.equal(together[name], alone[name]) for name in alone)


def test_2d_result_does_not_depend_on_the_number_of_threads(set_threads):
    set_threads(1)
    alone = _run_2d()
    set_threads(2)
    together = _run_2d()
    # The projections around the scan are PyTorch's, which may split a sum over threads.
    exact = ('output', 'dA', 'dD', 'ddt_proj_bias')
    assert all(torch.equal(together[name], alone[name]) for name in exact)


def test_calls_from_several_threads_give_the_same(set_threads):
    set_threads(2)
    alone = _run_1d()
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: _run_1d(), range(8)):
            assert all(torch.equal(found[name], alone[name]) for name in alone)


def test_a_forked_child_scans_and_so_does_its_parent():
    code = """
import os, torch
torch.set_num_threads(2)
from mmmamba.ops import selective_scan
u = torch.rand(4, 50, 6)
scan = lambda: selective_scan(u, u, -torch.ones(6, 2), torch.ones(4, 50, 2), torch.ones(4, 50, 2), backend='numba')
before = scan()
pid = os.fork()
if pid == 0:
    os._exit(0 if torch.equal(scan(), before) else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
assert torch.equal(scan(), before)
"""
    subprocess.run([sys.executable, '-c', code], env={**os.environ, 'PYTHONPATH': str(ROOT)}, timeout=120, check=True)


def test_kernels_come_from_the_disk_cache_on_the_second_run(tmp_path):
    code = """
import torch
from mmmamba.ops import selective_scan
from mmmamba.ops.selective_scan import numba_kernels
u = torch.rand(1, 5, 3)
selective_scan(u, u, -torch.ones(3, 1), torch.ones(1, 5, 1), torch.ones(1, 5, 1), backend='numba')
stats = numba_kernels.forward_units.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))
"""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), 'NUMBA_CACHE_DIR': str(tmp_path)}
    run = partial(subprocess.run, [sys.executable, '-c', code], env=environment, timeout=300, check=True)
    counts = [run(capture_output=True, text=True).stdout.split() for _ in range(2)]
    assert counts == [['0', '1'], ['1', '0']]


@pytest.mark.parametrize('failing', [0, 1])
def test_a_failing_share_of_the_work_is_an_error_of_the_call(monkeypatch, set_threads, failing):
    set_threads(2)

    def fail(start, stop, *arguments):
        if start == failing:
            raise MemoryError(f'units {start} to {stop}')

    monkeypatch.setattr(numba_path, 'forward_units', fail)
    with pytest.raises(MemoryError, match=f'units {failing} to {failing + 1}'):
        selective_scan(**scan_inputs(0), backend='numba')


@pytest.mark.parametrize('units', [1, 2, 7, 8, 9, 100])
@pytest.mark.parametrize('threads', [1, 2, 5])
def test_every_unit_of_work_is_done_once(set_threads, units, threads):
    set_threads(threads)
    done = []
    numba_path._run(lambda start, stop: done.extend(range(start, stop)), units, ())
    assert sorted(done) == list(range(units))
