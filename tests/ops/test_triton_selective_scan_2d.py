"""The 2-D scan on Triton against the reference, values and every gradient, at sizes the interpreter can bear."""

import os
from functools import partial

import pytest
import torch
from scan_cases import assert_close, gradient_of_output, map_inputs, values_and_gradients, with_own_channels

from mmmamba.ops import reference, selective_scan_2d

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)

if os.environ.get('TRITON_INTERPRET') == '1':
    from mmmamba.ops.selective_scan import triton_path
    from mmmamba.ops.selective_scan.triton_launch import SAVED_STEPS, Config


@pytest.fixture
def cut(monkeypatch):
    """Sets how launches are cut up: small blocks of channels, so that a few channels make several programs."""

    def set_config(block_t: int = 16, block_c: int = 4, images: int = 1, segments: int = 1) -> None:
        forward = Config(block_t, block_c, 1, images, segments)
        monkeypatch.setattr(triton_path, '_forward_config', lambda *_: forward)
        monkeypatch.setattr(triton_path, '_backward_config', lambda *_: forward._replace(BLOCK_T=SAVED_STEPS))

    set_config()
    return set_config


def check(inputs: dict, dtype: torch.dtype = torch.float32, merge: bool = True) -> None:
    y = reference.selective_scan_2d(**inputs, merge=merge)
    dy = gradient_of_output(y).to(dtype)
    expected = values_and_gradients(partial(reference.selective_scan_2d, merge=merge), inputs, dy)
    found = values_and_gradients(partial(selective_scan_2d, merge=merge, backend='triton'), inputs, dy)
    assert all(found[name].dtype == dtype for name in ('output', 'dx'))
    assert_close(found, expected, dtype)


CASES = {
    'two images, one tile': dict(size=(3, 4), channels=3, d_state=2, routes=2),
    'several tiles, the last not full': dict(size=(5, 7), batch=1, d_state=2, routes=2),
    'routes that leave pixels out': dict(size=(3, 7), steps=9, batch=1),
    'd_state 1': dict(size=(5, 7), batch=1, d_state=1, routes=2),
    'one pixel, one channel': dict(size=(1, 1), channels=1, routes=1, d_state=1, dt_rank=1),
}


@pytest.mark.parametrize('case', CASES.values(), ids=CASES)
def test_matches_reference(case, cut):
    check(map_inputs(0, **case))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_matches_reference_in_half_precision(dtype, cut):
    check(map_inputs(1, size=(3, 6), batch=1, d_state=1, dtype=dtype), dtype)


@pytest.mark.parametrize('d_state', [1, 2])
def test_outputs_that_are_not_merged(d_state, cut):
    check(map_inputs(1, size=(3, 6), channels=3, d_state=d_state, routes=2), merge=False)


@pytest.mark.parametrize('steps', [None, 7])
def test_routes_with_channels_of_their_own(steps, cut):
    check(with_own_channels(map_inputs(1, size=(3, 6), channels=3, d_state=2, routes=2, steps=steps)))


def test_tiles_longer_than_what_is_saved(cut):
    cut(block_t=32)
    check(map_inputs(2, size=(5, 9), batch=1, channels=3, d_state=1, routes=1))


def test_segments_are_chained(cut):
    cut(segments=2)
    check(map_inputs(3, size=(5, 8), batch=1, channels=3, d_state=2, routes=2))


def test_programs_take_several_images(cut):
    cut(images=2)
    check(map_inputs(4, size=(3, 6), batch=3, channels=3, d_state=1, routes=1))


def test_large_states_are_cut_into_slices(cut):
    check(map_inputs(5, size=(1, 5), batch=1, channels=2, d_state=17, routes=1))


@pytest.mark.parametrize('bias', [-60.0, 60.0], ids=['no step', 'huge steps'])
def test_extreme_step_sizes(bias, cut):
    inputs = map_inputs(6, size=(3, 6), batch=1, channels=3, d_state=1, routes=1)
    check(inputs | dict(dt_proj_bias=torch.full_like(inputs['dt_proj_bias'], bias)))


def test_strided_inputs(cut):
    inputs = map_inputs(7, size=(3, 4), batch=1, channels=4, d_state=1, routes=2)
    x = inputs['x'].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    parameters = {
        name: torch.stack([t, t], dim=-1)[..., 0] for name, t in inputs.items() if name not in ('x', 'routes')
    }
    check(inputs | parameters | dict(x=x))


def test_two_runs_agree_to_the_last_bit(cut):
    inputs = map_inputs(8, size=(3, 4), channels=3, d_state=1)
    dy = gradient_of_output(inputs['x'])
    first, second = (
        values_and_gradients(lambda **x: selective_scan_2d(**x, backend='triton'), inputs, dy) for _ in range(2)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_operator_passes_opcheck(cut):
    from mmmamba.ops.selective_scan_2d.triton_op import scan_op

    inputs = map_inputs(9, size=(2, 2), batch=1, channels=2, d_state=1, routes=1)
    x, routes = inputs['x'].flatten(1, 2), inputs['routes']
    projected = torch.randn(1, 4, 1, 4)
    floating = [x, projected, *(inputs[name] for name in ('dt_proj_weight', 'dt_proj_bias', 'A', 'D'))]
    x, projected, *parameters = (t.requires_grad_() for t in floating)
    torch.library.opcheck(scan_op, (x, projected, routes, *parameters, True, True))
    torch.library.opcheck(scan_op, (x, projected, routes, *parameters, False, False))
