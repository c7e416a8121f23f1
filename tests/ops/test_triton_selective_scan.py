"""The 1-D scan on Triton against the reference, values and every gradient, at sizes the interpreter can bear."""

import os

import pytest
import torch
from scan_cases import assert_close, gradient_of_output, scan_inputs, values_and_gradients

from mmmamba.ops import reference, selective_scan

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)

if os.environ.get('TRITON_INTERPRET') == '1':
    from mmmamba.ops.selective_scan import triton_path
    from mmmamba.ops.selective_scan.triton_launch import SAVED_STEPS, Config


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Four channels a program, so that a few channels make several programs."""
    config = Config(SAVED_STEPS, 4, 1, 1, 1)
    for name in ('_forward_config', '_backward_config'):
        monkeypatch.setattr(triton_path, name, lambda *_: config)


def check(inputs: dict, dtype: torch.dtype = torch.float32, **options) -> None:
    y = reference.selective_scan(**inputs, **options)
    dy = gradient_of_output(y).to(dtype)
    expected = values_and_gradients(lambda **x: reference.selective_scan(**x, **options), inputs, dy)
    found = values_and_gradients(lambda **x: selective_scan(**x, **options, backend='triton'), inputs, dy)
    assert found['output'].dtype == dtype
    assert_close(found, expected, dtype)


CASES = {
    'every argument': dict(channels=5, d_state=2),
    'only what must be': dict(skip=False, gate=False, bias=False, batch=1),
    'two groups': dict(groups=2, batch=1),
    'd_state 1': dict(d_state=1, length=35, channels=3, batch=1),
    'one step': dict(length=1, batch=1),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_matches_reference(case):
    check(scan_inputs(0, **case), delta_softplus=True)


@pytest.mark.parametrize('softplus', [False, True])
def test_reverse_matches_reference(softplus):
    check(scan_inputs(1, batch=1, channels=3), delta_softplus=softplus, reverse=True)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_matches_reference_in_half_precision(dtype):
    check(scan_inputs(2, batch=1, channels=3, d_state=2, dtype=dtype), dtype, delta_softplus=True)


@pytest.mark.parametrize('delta', [0.0, 300.0], ids=['no step', 'huge steps'])
def test_extreme_step_sizes(delta):
    inputs = scan_inputs(3, batch=1, channels=3, d_state=2, bias=False)
    check(inputs | dict(delta=torch.full_like(inputs['delta'], delta)))


def test_strided_inputs():
    inputs = scan_inputs(4, batch=1, channels=3, d_state=2)
    rows = torch.cat([inputs['u'], inputs['delta'], inputs['B'], inputs['C']], dim=-1)
    u, delta, B, C = rows.split([3, 3, 2, 2], dim=-1)
    check(inputs | dict(u=u, delta=delta, B=B, C=C), delta_softplus=True)


def test_operator_passes_opcheck():
    from mmmamba.ops.selective_scan.triton_op import scan_op

    inputs = scan_inputs(5, batch=1, channels=2, d_state=1, length=3, groups=1, gate=False)
    inputs = [t.requires_grad_() for t in inputs.values()]
    torch.library.opcheck(scan_op, (*inputs, True, False, True))


def test_no_segment_of_a_route_is_empty():
    """A program without tiles would leave its sums and its state unwritten."""
    from mmmamba.ops.selective_scan.triton_launch import Shapes
    from mmmamba.ops.selective_scan.triton_path import _backward_config, _forward_config

    for length in (1, 255, 1290, 4097, 70_000):
        for channels in (3, 96, 384):
            u, A = torch.empty(1, length, channels, device='meta'), torch.empty(1, channels, 2, device='meta')
            B = torch.empty(1, length, 1, 2, device='meta')
            shapes = Shapes.of(u, u.unsqueeze(2), None, A, B, None)
            for config in (_forward_config(shapes), _backward_config(shapes)):
                tiles = -(-length // config.BLOCK_T)
                assert (config.segments - 1) * -(-tiles // config.segments) < tiles


def test_a_length_that_segments_do_not_divide():
    inputs = scan_inputs(4, batch=1, length=1290, channels=3, groups=1, d_state=2, gate=False)
    dy = gradient_of_output(inputs['u'])
    found = values_and_gradients(lambda **t: selective_scan(**t, backend='triton'), inputs, dy)
    exact = {name: t.double() for name, t in inputs.items()}
    expected = values_and_gradients(lambda **t: selective_scan(**t, backend='torch'), exact, dy.double())
    assert_close(found, expected, torch.float32)
