"""Runs the tests of the Triton kernels on the CPU, each file in a process: Triton reads TRITON_INTERPRET at import."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = (  # the longest first
    'test_triton_residual.py',
    'test_triton_selective_scan.py',
    'test_triton_selective_scan_2d.py',
    'test_causal_conv1d.py',
    'test_triton_depthwise_conv.py',
    'test_triton_layer_norm.py',
    'test_triton_weight_casts.py',
)


@pytest.fixture(scope='module')
def runs():
    """One for each file, a core each: the interpreter uses no more."""
    pytest.importorskip('triton')

    def run(name: str) -> subprocess.CompletedProcess:
        command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(HERE / name)]
        environment = os.environ | {'TRITON_INTERPRET': '1', 'OMP_NUM_THREADS': '1'}
        return subprocess.run(
            command, env=environment, cwd=HERE.parents[1], capture_output=True, text=True, check=False
        )

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(run, name) for name in FILES}


@pytest.mark.parametrize('name', FILES)
def test_kernels_pass_their_tests_under_the_interpreter(name, runs):
    done = runs[name].result()
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert ' passed' in done.stdout
    assert 'skipped' not in done.stdout
