"""The 1-D scan, every backend against ``ops/reference.py`` in fp64."""

from functools import partial

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scan_cases import TOLERANCE, assert_close, gradient_of_output, scan_inputs, values_and_gradients

from mmmamba.ops import reference, selective_scan
from mmmamba.ops.selective_scan import interface

BACKENDS = ('numba', 'torch')


def judge(inputs, backend, dtype, dy=None, **options):
    """Compare output and gradients of a backend with the reference on the same values in fp64."""
    dy = gradient_of_output(inputs['u']) if dy is None else dy
    found = values_and_gradients(partial(selective_scan, backend=backend, **options), inputs, dy)
    exact = {name: value.double() for name, value in inputs.items()}
    assert_close(found, values_and_gradients(partial(reference.selective_scan, **options), exact, dy), dtype)
    return found


shapes = st.fixed_dictionaries(
    dict(
        batch=st.integers(1, 3),
        length=st.integers(1, 130),
        d_state=st.integers(1, 64),
        skip=st.booleans(),
        gate=st.booleans(),
        bias=st.booleans(),
    )
)
options = st.fixed_dictionaries(dict(delta_softplus=st.booleans(), reverse=st.booleans()))


def test_uninitialised_memory_is_nan_here():
    assert torch.empty(3).isnan().all()
    assert torch.empty_like(torch.zeros(3, dtype=torch.float64)).isnan().all()


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
@settings(max_examples=25)
@given(
    shape=shapes,
    options=options,
    groups=st.one_of(st.none(), st.integers(1, 3)),
    width=st.integers(1, 20),
    seed=st.integers(0, 2**16),
)
@example(dict(batch=1, length=1, d_state=1), dict(), None, 1, 0)
@example(dict(batch=2, length=130, d_state=64), dict(delta_softplus=True, reverse=True), 3, 5, 1)
def test_scan_and_gradients_match_reference(backend, dtype, shape, options, groups, width, seed):
    inputs = scan_inputs(seed, **shape, groups=groups, channels=width * (groups or 1), dtype=dtype)
    judge(inputs, backend, dtype, **options)


# The numba kernels work on blocks of 128 channels and chunks of 64 steps, the PyTorch path on chunks of sqrt(L).
@pytest.mark.parametrize('shape', [(1, 127), (63, 128), (64, 129), (65, 257), (145, 300)], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_block_and_chunk_borders_match_reference(backend, shape):
    inputs = scan_inputs(0, length=shape[0], channels=shape[1], d_state=2)
    judge(inputs, backend, torch.float32, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
def test_long_scan_matches_reference(backend):
    inputs = scan_inputs(0, batch=1, length=4099, channels=5, d_state=2)
    judge(inputs, backend, torch.float32, delta_softplus=True)


@pytest.mark.parametrize('dtype', TOLERANCE, ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('reverse', [False, True], ids=['forward', 'reverse'])
def test_every_dtype_matches_reference(backend, dtype, reverse):
    inputs = scan_inputs(3, length=63, groups=2, d_state=5, dtype=dtype)
    found = judge(inputs, backend, dtype, delta_softplus=True, reverse=reverse)
    assert {value.dtype for value in found.values()} == {dtype}


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_half_precision_tokens_with_fp32_parameters_match_reference(backend, dtype):
    inputs = scan_inputs(4, length=63)
    for name in ('u', 'delta', 'B', 'C', 'z'):
        inputs[name] = inputs[name].to(dtype)
    found = judge(inputs, backend, dtype, delta_softplus=True)
    assert {name: found[f'd{name}'].dtype for name in inputs} == {name: value.dtype for name, value in inputs.items()}
    assert found['output'].dtype == dtype


@pytest.mark.parametrize('backend', BACKENDS)
def test_one_fp64_input_makes_the_state_fp64(backend):
    inputs = scan_inputs(5, length=63) | dict(A=scan_inputs(5, length=63, dtype=torch.float64)['A'])
    del inputs['z']  # the gate is applied in the dtype of u
    dy = gradient_of_output(inputs['u'])
    gradient = values_and_gradients(partial(selective_scan, backend=backend), inputs, dy)['dA']
    exact = {name: value.double() for name, value in inputs.items()}
    expected = values_and_gradients(reference.selective_scan, exact, dy)['dA']
    assert_close(dict(dA=gradient), dict(dA=expected), torch.float64)


def _strided(inputs):
    """The same values, none of them contiguous."""
    batch, length, channels = inputs['u'].shape
    strided = {name: torch.stack([t, t], dim=-1)[..., 0] for name, t in inputs.items()}  # every second value
    strided['u'] = inputs['u'].transpose(1, 2).contiguous().transpose(1, 2)  # channels first in memory
    strided['delta'] = inputs['delta'][:1].expand(batch, length, channels)
    strided['A'] = inputs['A'].T.contiguous().T
    strided['B'] = torch.cat([inputs['B'], inputs['C']], dim=-1)[..., : inputs['B'].shape[-1]]
    return strided


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('groups', [None, 2], ids=str)
def test_strided_inputs_match_reference(backend, groups):
    inputs = _strided(scan_inputs(6, length=33, groups=groups))
    assert not any(value.is_contiguous() for value in inputs.values())
    judge(inputs, backend, torch.float32, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('layout', ['expanded', 'channels first'])
def test_strided_gradient_of_the_output_matches_reference(backend, layout):
    inputs = scan_inputs(6, length=33, gate=False)
    dy = gradient_of_output(inputs['u'])
    dy = torch.ones(()).expand_as(dy) if layout == 'expanded' else dy.transpose(1, 2).contiguous().transpose(1, 2)
    judge(inputs, backend, torch.float32, dy=dy)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('scale', [0, 1e-8, 1e-3, 10, 1e3, 1e5], ids=str)
def test_extreme_step_sizes_match_reference(backend, scale):
    inputs = scan_inputs(8, length=40, bias=False)
    inputs['delta'] *= scale
    judge(inputs, backend, torch.float32)


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradients_through_a_nearly_forgotten_state_match_reference(backend):
    """Decays of 3e-7, where ``h_t - dt_t B_t u_t`` would cancel to nothing but rounding."""
    inputs = scan_inputs(8, length=40, bias=False)
    inputs['delta'], inputs['A'] = torch.full_like(inputs['delta'], 15.0), torch.full_like(inputs['A'], -1.0)
    judge(inputs, backend, torch.float32)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize('backend', BACKENDS)
def test_softplus_matches_reference_from_its_zero_to_its_linear_end(backend, dtype):
    inputs = scan_inputs(9, batch=1, length=121, bias=False, dtype=dtype)
    inputs['delta'] = torch.linspace(-60, 60, 121, dtype=dtype)[None, :, None].expand(1, 121, 6).contiguous()
    inputs['A'] = inputs['A'] / 100
    judge(inputs, backend, dtype, delta_softplus=True)


@pytest.mark.parametrize('backend', BACKENDS)
def test_each_step_size_has_the_relative_error_of_its_dtype(backend):
    """Where the states' large values cannot hide the small ones: one step, one state, y = softplus(delta) exactly."""
    delta = torch.linspace(-80, 80, 4001)[:, None, None]
    one = torch.ones(4001, 1, 1)
    found = selective_scan(one, delta, -torch.ones(1, 1), one, one, delta_softplus=True, backend=backend)
    expected = torch.log1p(torch.exp(delta.double()))
    assert ((found - expected).abs() / expected).max() < 3e-7


@pytest.mark.parametrize('backend', BACKENDS)
def test_a_nan_stays_in_its_channel_and_its_future(backend):
    inputs = scan_inputs(10, length=30)
    inputs['u'][1, 11, 2] = float('nan')
    found = selective_scan(**inputs, backend=backend).isnan()
    expected = torch.zeros_like(found)
    expected[1, 11:, 2] = True
    assert torch.equal(found, expected)


@pytest.mark.parametrize('backend', BACKENDS)
def test_an_empty_batch_gives_an_empty_output_and_zero_gradients(backend):
    inputs = scan_inputs(0, batch=0)
    found = values_and_gradients(partial(selective_scan, backend=backend), inputs, torch.empty(0, 17, 6))
    assert found['output'].shape == (0, 17, 6)
    assert torch.equal(found['dA'], torch.zeros(6, 3))


@pytest.mark.parametrize('backend', BACKENDS)
def test_autocast_changes_nothing(backend):
    inputs = scan_inputs(11, length=63, groups=2)
    dy = gradient_of_output(inputs['u'])
    plain = values_and_gradients(partial(selective_scan, delta_softplus=True, backend=backend), inputs, dy)
    with torch.autocast('cpu', torch.bfloat16):
        found = values_and_gradients(partial(selective_scan, delta_softplus=True, backend=backend), inputs, dy)
    assert all(torch.equal(found[name], plain[name]) for name in plain)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('optional', [True, False], ids=['all arguments', 'required arguments'])
def test_gradients_pass_gradcheck(backend, optional):
    inputs = scan_inputs(
        12, length=9, channels=4, d_state=2, groups=2, skip=optional, gate=optional, bias=optional, dtype=torch.float64
    )
    names, values = list(inputs), [value.requires_grad_() for value in inputs.values()]
    options = dict(delta_softplus=optional, reverse=optional, backend=backend)
    assert torch.autograd.gradcheck(lambda *a: selective_scan(**dict(zip(names, a, strict=True)), **options), values)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('optional', [True, False], ids=['all arguments', 'required arguments'])
@pytest.mark.parametrize('groups', [1, 2])
def test_ops_pass_opcheck(backend, optional, groups):
    inputs = scan_inputs(13, length=7, groups=groups, skip=optional, bias=optional, gate=False)
    arguments = [inputs.get(name) for name in ('u', 'delta', 'A', 'B', 'C', 'D', 'delta_bias')]
    arguments = [a if a is None else a.requires_grad_() for a in arguments]
    flags = (optional, not optional, backend)
    torch.library.opcheck(interface._selective_scan_op, (*arguments, *flags))
    detached = [a if a is None else a.detach() for a in arguments]
    dy = gradient_of_output(inputs['u'])
    torch.library.opcheck(interface._selective_scan_backward_op, (dy, *detached, *flags))


@pytest.mark.parametrize('backend', BACKENDS)
def test_compiled_in_one_graph_it_gives_the_same_for_two_lengths(backend):
    function = partial(selective_scan, delta_softplus=True, reverse=True, backend=backend)
    compiled = torch.compile(function, fullgraph=True, backend='aot_eager')
    for length in (9, 14):
        inputs = scan_inputs(14, length=length, groups=2)
        dy = gradient_of_output(inputs['u'])
        found = values_and_gradients(compiled, inputs, dy)
        assert_close(found, values_and_gradients(function, inputs, dy), torch.float64)


def test_reference_backend_gives_the_reference_in_the_dtype_of_the_input():
    inputs = scan_inputs(15)
    expected = reference.selective_scan(**inputs).float()
    assert torch.equal(selective_scan(**inputs, backend='reference'), expected)


BAD_ARGUMENTS = {
    'u not 3-D': (dict(u=torch.zeros(2, 17)), r'expected u of shape \(batch, L, D\) with L >= 1, got \(2, 17\)'),
    'no steps': (dict(u=torch.zeros(2, 0, 6)), r'with L >= 1, got \(2, 0, 6\)'),
    'A of other channels': (
        dict(A=torch.zeros(5, 3)),
        r'expected A of shape \(D, N\) with D = 6 as in u, got \(5, 3\)',
    ),
    'groups that do not divide': (
        dict(B=torch.zeros(2, 17, 4, 3), C=torch.zeros(2, 17, 4, 3)),
        r'expected B of shape \(batch, L, G, N\).*D = 6.*got \(2, 17, 4, 3\)',
    ),
    'delta': (dict(delta=torch.zeros(2, 17, 5)), r'expected delta of shape \(2, 17, 6\), got \(2, 17, 5\)'),
    'B of another state': (dict(B=torch.zeros(2, 17, 4)), r'expected B of shape \(2, 17, 1, 3\), got \(2, 17, 1, 4\)'),
    'C of other groups': (dict(C=torch.zeros(2, 17, 2, 3)), r'expected [BC] of shape'),
    'D': (dict(D=torch.zeros(5)), r'expected D of shape \(6,\), got \(5,\)'),
    'z': (dict(z=torch.zeros(1, 17, 6)), r'expected z of shape \(2, 17, 6\), got \(1, 17, 6\)'),
    'delta_bias': (dict(delta_bias=torch.zeros(6, 1)), r'expected delta_bias of shape \(6,\), got \(6, 1\)'),
    'another device': (dict(D=torch.zeros(6, device='meta')), r'D is on meta, u on cpu; move them to one device'),
}


@pytest.mark.parametrize('case', BAD_ARGUMENTS)
def test_bad_arguments_are_named(case):
    change, message = BAD_ARGUMENTS[case]
    with pytest.raises(ValueError, match=f'^selective_scan: .*{message}'):
        selective_scan(**scan_inputs(0) | change)
