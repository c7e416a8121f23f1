"""The multi-route 2-D scan, every backend against ``ops/reference.py`` in fp64."""

from functools import partial

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scan_cases import TOLERANCE, assert_close, gradient_of_output, map_inputs, values_and_gradients, with_own_channels
from torch.nn import functional as F

from mmmamba.ops import reference, selective_scan_2d
from mmmamba.ops.selective_scan_2d import interface

BACKENDS = ('numba', 'torch')


def judge(inputs, backend, dtype, dy=None, **options):
    """Compare output and gradients of a backend with the reference on the same values in fp64."""
    dy = gradient_of_output(inputs['x']) if dy is None else dy
    found = values_and_gradients(partial(selective_scan_2d, backend=backend, **options), inputs, dy)
    exact = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    assert_close(found, values_and_gradients(partial(reference.selective_scan_2d, **options), exact, dy), dtype)
    return found


shapes = st.fixed_dictionaries(
    dict(
        batch=st.integers(1, 3),
        size=st.tuples(st.integers(1, 11), st.integers(1, 11)),
        channels=st.integers(1, 20),
        routes=st.integers(1, 4),
        dt_rank=st.integers(1, 4),
        d_state=st.integers(1, 64),
    )
)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
@settings(max_examples=25)
@given(shape=shapes, covered=st.floats(0, 1), seed=st.integers(0, 2**16))
@example(dict(size=(1, 1), channels=1, routes=1, d_state=1), 1.0, 0)
@example(dict(size=(7, 11), channels=20, routes=4, d_state=64), 1.0, 1)
@example(dict(size=(7, 11)), 0.5, 2)
def test_scan_and_gradients_match_reference(backend, dtype, shape, covered, seed):
    pixels = shape['size'][0] * shape['size'][1]
    inputs = map_inputs(seed, **shape, steps=max(1, round(covered * pixels)), dtype=dtype)
    judge(inputs, backend, dtype)


@pytest.mark.parametrize('channels', [127, 129, 260])
@pytest.mark.parametrize('backend', BACKENDS)
def test_channel_block_borders_match_reference(backend, channels):
    judge(map_inputs(0, size=(9, 13), channels=channels, d_state=2), backend, torch.float32)


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_every_dtype_matches_reference(backend, dtype):
    found = judge(map_inputs(3, size=(7, 9), dtype=dtype), backend, dtype)
    assert {value.dtype for value in found.values()} == {dtype}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_a_half_precision_map_with_fp32_parameters_matches_reference(backend, dtype):
    inputs = map_inputs(4, size=(7, 9))
    inputs['x'] = inputs['x'].to(dtype)
    found = judge(inputs, backend, dtype)
    assert found['output'].dtype == found['dx'].dtype == dtype
    assert {found[f'd{name}'].dtype for name in ('x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A', 'D')} == {
        torch.float32
    }


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('steps', [None, 6])
def test_outputs_that_are_not_merged_match_reference(backend, steps, dtype):
    inputs = map_inputs(16, steps=steps, dtype=dtype)
    found = judge(inputs, backend, dtype, dy=gradient_of_output(inputs['x'].expand(3, -1, -1, -1, -1)), merge=False)
    assert found['output'].dtype == dtype
    merged = selective_scan_2d(**inputs, backend=backend)
    assert_close(dict(y=found['output'].sum(0)), dict(y=merged), dtype)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('merge', [True, False])
def test_routes_with_channels_of_their_own_match_reference(backend, merge, dtype):
    inputs = with_own_channels(map_inputs(17, dtype=dtype))
    judge(inputs, backend, dtype, merge=merge)
    apart = [
        selective_scan_2d(
            part, **{name: value[k : k + 1] for name, value in inputs.items() if name != 'x'}, backend=backend
        )
        for k, part in enumerate(inputs['x'].chunk(3, dim=-1))
    ]
    assert_close(dict(y=selective_scan_2d(**inputs, backend=backend)), dict(y=torch.cat(apart, -1)), dtype)


@pytest.mark.parametrize('backend', BACKENDS)
def test_pixels_that_no_route_visits_are_zero_and_get_no_gradient(backend):
    inputs = map_inputs(5, size=(4, 5), steps=6)
    visited = torch.zeros(20, dtype=torch.bool).index_fill(0, inputs['routes'].flatten(), True).view(4, 5)
    found = values_and_gradients(partial(selective_scan_2d, backend=backend), inputs, gradient_of_output(inputs['x']))
    assert 0 < visited.sum() < 20
    for name in ('output', 'dx'):
        assert torch.equal(found[name].abs().amax((0, 3)) > 0, visited)


@pytest.mark.parametrize('backend', BACKENDS)
def test_strided_inputs_match_reference(backend):
    inputs = map_inputs(6, size=(5, 7))
    strided = {name: torch.stack([t, t], dim=-1)[..., 0] for name, t in inputs.items()}  # every second value
    strided['x'] = inputs['x'].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)  # channels first in memory
    strided['A'] = inputs['A'][:1].expand_as(inputs['A'])
    strided['routes'] = inputs['routes'].T.contiguous().T
    assert not any(value.is_contiguous() for value in strided.values())
    judge(strided, backend, torch.float32)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('layout', ['expanded', 'channels first'])
def test_strided_gradient_of_the_output_matches_reference(backend, layout):
    inputs = map_inputs(6, size=(5, 7))
    dy = gradient_of_output(inputs['x'])
    if layout == 'expanded':
        dy = torch.ones(()).expand_as(dy)
    else:
        dy = dy.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    judge(inputs, backend, torch.float32, dy=dy)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shift', [-80, -20, 20, 100, 1e4], ids=str)
def test_extreme_step_sizes_match_reference(backend, shift):
    inputs = map_inputs(8, size=(5, 7))
    inputs['dt_proj_bias'] += shift
    judge(inputs, backend, torch.float32)


@pytest.mark.parametrize('backend', BACKENDS)
def test_step_sizes_too_small_for_fp32_leave_the_skip_connections(backend):
    inputs = map_inputs(8, size=(5, 7))
    inputs['dt_proj_bias'] -= 200
    found = values_and_gradients(partial(selective_scan_2d, backend=backend), inputs, torch.ones_like(inputs['x']))
    assert_close(found, found | dict(output=inputs['x'] * inputs['D'].sum(0)), torch.float32)
    assert all(found[name].abs().max() < 1e-30 for name in ('dx_proj_weight', 'ddt_proj_weight', 'ddt_proj_bias', 'dA'))


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(backend):
    inputs = map_inputs(0, batch=0)
    found = values_and_gradients(partial(selective_scan_2d, backend=backend), inputs, torch.empty(0, 5, 4, 6))
    assert found['output'].shape == (0, 5, 4, 6)
    assert torch.equal(found['dA'], torch.zeros(3, 6, 3))


def _scan_what_bf16_projects(x, routes, x_proj_weight, dt_proj_weight, dt_proj_bias, A, D):
    """The specification, given a projection that was rounded to bf16."""
    tokens, (batch, height, width, channels) = x.flatten(1, 2), x.shape
    projected = F.linear(tokens.bfloat16(), x_proj_weight.flatten(0, 1).bfloat16()).double()
    merged = torch.zeros(batch, height * width, channels, dtype=torch.float64)
    for k, (route, row) in enumerate(zip(routes, projected.chunk(len(routes), dim=-1), strict=True)):
        low, B, C = row[:, route].split([dt_proj_weight.shape[2], A.shape[2], A.shape[2]], dim=-1)
        delta = low @ dt_proj_weight[k].double().T
        y = reference.selective_scan(
            tokens[:, route], delta, A[k], B, C, D[k], delta_bias=dt_proj_bias[k], delta_softplus=True
        )
        merged = merged.index_add(1, route, y)
    return merged.view(x.shape)


@pytest.mark.parametrize('backend', BACKENDS)
def test_autocast_rounds_the_projection_and_nothing_after_it(backend):
    inputs = map_inputs(11, size=(7, 9))
    with torch.autocast('cpu', torch.bfloat16):
        found = selective_scan_2d(**inputs, backend=backend)
    assert found.dtype == torch.float32
    assert_close(dict(y=found), dict(y=_scan_what_bf16_projects(**inputs)), torch.float32)


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients_taken_under_autocast_are_those_taken_outside(backend):
    inputs = {name: t.requires_grad_() if t.is_floating_point() else t for name, t in map_inputs(11).items()}
    parameters = [inputs[name] for name in ('dt_proj_weight', 'dt_proj_bias', 'A', 'D')]
    with torch.autocast('cpu', torch.bfloat16):
        loss = selective_scan_2d(**inputs, backend=backend).square().sum()
        inside = torch.autograd.grad(loss, parameters, retain_graph=True)
    outside = torch.autograd.grad(loss, parameters)
    assert all(torch.equal(a, b) for a, b in zip(inside, outside, strict=True))


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients_pass_gradcheck(backend):
    inputs = map_inputs(12, size=(3, 2), channels=3, routes=2, steps=5, d_state=2, dtype=torch.float64)
    routes = inputs.pop('routes')
    names, values = list(inputs), [value.requires_grad_() for value in inputs.values()]
    assert torch.autograd.gradcheck(
        lambda *a: selective_scan_2d(**dict(zip(names, a, strict=True)), routes=routes, backend=backend), values
    )


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
def test_ops_pass_opcheck(backend, dtype):
    inputs = map_inputs(13, size=(3, 4), dtype=dtype)
    x, weight = inputs['x'].flatten(1, 2), inputs['x_proj_weight']
    projected = (x @ weight.flatten(0, 1).T).unflatten(2, (3, -1))
    parameters = [inputs[name] for name in ('dt_proj_weight', 'dt_proj_bias', 'A', 'D')]
    leaves = [t.detach().requires_grad_() for t in (x, projected, *parameters)]
    arguments = (*leaves[:2], inputs['routes'], *leaves[2:])
    detached = [t.detach() for t in arguments]
    for merge in (True, False):
        torch.library.opcheck(interface._selective_scan_2d_op, (*arguments, merge, backend))
        dy = gradient_of_output(x if merge else x.expand(3, *x.shape))
        torch.library.opcheck(interface._selective_scan_2d_backward_op, (dy, *detached, backend))


@pytest.mark.parametrize('backend', BACKENDS)
def test_compiled_in_one_graph_it_gives_the_same_for_two_sizes(backend):
    function = partial(selective_scan_2d, backend=backend)
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    for size in ((3, 4), (5, 7)):
        inputs = map_inputs(14, size=size)
        dy = gradient_of_output(inputs['x'])
        found = values_and_gradients(compiled, inputs, dy)
        # The projection may be multiplied in another order, no more.
        assert_close(found, values_and_gradients(function, inputs, dy), torch.float32)


def test_reference_backend_gives_the_reference_in_the_dtype_of_the_input():
    inputs = map_inputs(15)
    expected = reference.selective_scan_2d(**inputs).float()
    assert torch.equal(selective_scan_2d(**inputs, backend='reference'), expected)


R = torch.zeros(3, 20, dtype=torch.int64)
BAD_ARGUMENTS = {
    'x not 4-D': (dict(x=torch.zeros(2, 20, 6)), r'expected x of shape \(batch, H, W, E\) with H, W >= 1'),
    'no pixels': (dict(x=torch.zeros(2, 0, 4, 6)), r'with H, W >= 1, got \(2, 0, 4, 6\)'),
    'int32 routes': (dict(routes=R.int()), r'expected routes of shape \(K, T\), int64.*got \(3, 20\), torch.int32'),
    'too many steps': (dict(routes=torch.zeros(3, 21, dtype=torch.int64)), r'1 <= T <= H \* W = 20, got \(3, 21\)'),
    'no steps': (dict(routes=torch.zeros(3, 0, dtype=torch.int64)), r'1 <= T <= H \* W = 20, got \(3, 0\)'),
    'a pixel beyond the map': (dict(routes=R + 20), r'routes visit pixels 20 to 20, but the map has pixels 0 to 19'),
    'a pixel before the map': (dict(routes=R - 1), r'routes visit pixels -1 to -1, but the map has pixels 0 to 19'),
    'A': (dict(A=torch.zeros(18, 3)), r'expected A \(K, E, N\) and dt_proj_weight \(K, E, R\), got \(18, 3\)'),
    'other routes': (dict(A=torch.zeros(2, 6, 3)), r'expected A of shape \(3, 6, 3\) for 3 routes.*got \(2, 6, 3\)'),
    'x_proj_weight': (dict(x_proj_weight=torch.zeros(3, 7, 6)), r'expected x_proj_weight of shape \(3, 8, 6\)'),
    'dt_proj_weight': (dict(dt_proj_weight=torch.zeros(3, 5, 2)), r'expected dt_proj_weight of shape \(3, 6, 2\)'),
    'dt_proj_bias': (dict(dt_proj_bias=torch.zeros(18)), r'expected dt_proj_bias of shape \(3, 6\)'),
    'D': (dict(D=torch.zeros(3, 7)), r'expected D of shape \(3, 6\).*got \(3, 7\)'),
    'another device': (dict(D=torch.zeros(3, 6, device='meta')), r'D on meta, x on cpu; move them to one device'),
}


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('case', BAD_ARGUMENTS)
def test_bad_arguments_are_named(case, backend):
    change, message = BAD_ARGUMENTS[case]
    with pytest.raises(ValueError, match=f'^selective_scan_2d: .*{message}'):
        selective_scan_2d(**map_inputs(0) | change, backend=backend)
