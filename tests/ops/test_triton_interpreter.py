"""Runs the tests of the Triton kernels on the CPU, each file in a process: Triton reads TRITON_INTERPRET at import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FILES = (
    'test_causal_conv1d.py',
    'test_triton_layer_norm.py',
    'test_triton_residual.py',
    'test_triton_selective_scan.py',
    'test_triton_selective_scan_2d.py',
)


@pytest.mark.parametrize('name', FILES)
def test_kernels_pass_their_tests_under_the_interpreter(name):
    pytest.importorskip('triton')
    command = [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', str(HERE / name)]
    done = subprocess.run(
        command, env=os.environ | {'TRITON_INTERPRET': '1'}, cwd=HERE.parents[1], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert ' passed' in done.stdout
    assert 'skipped' not in done.stdout
