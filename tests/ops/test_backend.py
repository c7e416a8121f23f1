"""Which backend serves a call: the argument, the context manager, the environment variable, what is installed."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from scan_cases import map_inputs, relative_error, scan_inputs

from mmmamba.ops import reference, selective_scan, selective_scan_2d, use_backend
from mmmamba.ops.backend import resolve_backend
from mmmamba.ops.selective_scan import numba_path, torch_path

ROOT = Path(__file__).parents[2]
CPU = torch.device('cpu')


@pytest.fixture
def served_by(monkeypatch):
    """Names of the backends whose forward pass ran."""
    served = []
    for name, module in (('numba', numba_path), ('torch', torch_path)):

        def record(*args, name=name, forward=module.scan_forward):
            served.append(name)
            return forward(*args)

        monkeypatch.setattr(module, 'scan_forward', record)
    monkeypatch.setattr(
        reference, 'selective_scan_2d', lambda x, *args, **options: served.append('reference') or torch.zeros_like(x)
    )
    return served


@pytest.mark.parametrize('name', ['numba', 'torch', 'reference'])
def test_argument_chooses(name, served_by):
    selective_scan_2d(**map_inputs(0), backend=name)
    assert served_by == [name]


@pytest.mark.parametrize('name', ['numba', 'torch', 'reference'])
def test_context_manager_chooses(name, served_by):
    with use_backend(name):
        selective_scan_2d(**map_inputs(0))
    assert served_by == [name]


def test_argument_goes_before_the_context_manager(served_by):
    with use_backend('torch'):
        selective_scan_2d(**map_inputs(0), backend='numba')
    assert served_by == ['numba']


def test_auto_on_the_cpu_is_numba(served_by):
    selective_scan_2d(**map_inputs(0))
    selective_scan(**scan_inputs(0))
    assert served_by == ['numba', 'numba']


def test_context_managers_nest_and_end_with_an_error():
    with use_backend('torch'):
        with suppress(KeyError), use_backend('reference'):
            assert resolve_backend('auto', CPU) == 'reference'
            raise KeyError
        assert resolve_backend('auto', CPU) == 'torch'
        with use_backend('auto'):
            assert resolve_backend('auto', CPU) == 'numba'
    assert resolve_backend('auto', CPU) == 'numba'


def test_gradient_runs_on_the_backend_of_the_forward_pass(monkeypatch):
    monkeypatch.setattr(numba_path, 'scan_backward', lambda *args: pytest.fail('numba ran'))
    x = map_inputs(0)['x'].requires_grad_()
    with use_backend('torch'):
        y = selective_scan_2d(**map_inputs(0) | dict(x=x))
    y.sum().backward()
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize('function', [lambda: use_backend('cuda').__enter__(), lambda: resolve_backend('cuda', CPU)])
def test_unknown_names_are_refused(function):
    with pytest.raises(
        ValueError, match=r"backend 'cuda' \(argument, use_backend or MMMAMBA_BACKEND\) is not one of auto, "
    ):
        function()


def test_numba_on_another_device_is_refused():
    with pytest.raises(ValueError, match="backend 'numba' runs on the CPU, but the tensors are on cuda:0; use 'auto'"):
        resolve_backend('numba', torch.device('cuda:0'))


def run_python(code, **environment):
    """Run code in a fresh interpreter; its standard output, or an error with its last line."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    done = subprocess.run(
        [sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return done.stdout.strip()


RESOLVE = (
    "import torch; from mmmamba.ops.backend import resolve_backend; print(resolve_backend('auto', torch.device('cpu')))"
)


@pytest.mark.parametrize(('value', 'backend'), [('torch', 'torch'), ('reference', 'reference'), ('auto', 'numba')])
def test_environment_variable_chooses(value, backend):
    assert run_python(RESOLVE, MMMAMBA_BACKEND=value) == backend


def test_environment_variable_with_an_unknown_name_is_refused_by_the_first_call():
    with pytest.raises(RuntimeError, match=r"ValueError: backend 'cuda' .*MMMAMBA_BACKEND\) is not one of auto, "):
        run_python(RESOLVE, MMMAMBA_BACKEND='cuda')


NO_NUMBA = "import sys; sys.modules['numba'] = None\n"  # imports and find_spec see no such package


def test_without_numba_the_torch_backend_serves(tmp_path):
    inputs = map_inputs(0)
    torch.save(inputs, tmp_path / 'inputs.pt')
    code = (
        f'{NO_NUMBA}import torch; from mmmamba.ops import selective_scan_2d\n'
        f"inputs = torch.load(r'{tmp_path}/inputs.pt')\n"
        f"torch.save(selective_scan_2d(**inputs), r'{tmp_path}/y.pt')"
    )
    run_python(code)
    assert relative_error(torch.load(tmp_path / 'y.pt'), reference.selective_scan_2d(**inputs)) < 1e-5


def test_without_numba_asking_for_it_says_how_to_get_it():
    code = f'{NO_NUMBA}{RESOLVE.replace("auto", "numba")}'
    with pytest.raises(RuntimeError, match="ModuleNotFoundError: backend 'numba' needs the package numba: pip install"):
        run_python(code)


def test_importing_the_ops_imports_no_compiler():
    code = "import sys, mmmamba.ops; print(sorted({'numba', 'triton', 'mmcv', 'mmdet'} & set(sys.modules)))"
    assert run_python(code) == '[]'
