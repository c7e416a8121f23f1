"""The causal depthwise convolution on every backend against the reference, values and every gradient."""

import os

import pytest
import torch
from scan_cases import assert_close, values_and_gradients
from torch import Tensor

from mmmamba.ops import causal_conv1d, reference

# test_triton_interpreter.py runs this file again, with Triton's interpreter, in a process of its own.
BACKEND = 'triton' if os.environ.get('TRITON_INTERPRET') == '1' else 'torch'


def inputs(length: int = 9, channels: int = 5, width: int = 4, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = dict(x=(2, length, channels), weight=(channels, width), bias=(channels,))
    return {name: torch.randn(*shape, generator=g).to(dtype) for name, shape in shapes.items()}


def check(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32, **options) -> None:
    y = reference.causal_conv1d(**tensors, **options)
    dy = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = values_and_gradients(lambda **t: causal_conv1d(**t, **options, backend=BACKEND), tensors, dy)
    expected = values_and_gradients(lambda **t: reference.causal_conv1d(**t, **options), tensors, dy)
    assert found['output'].dtype == dtype
    assert_close(found, expected, dtype)


@pytest.mark.parametrize('silu', [False, True])
@pytest.mark.parametrize('reverse', [False, True])
def test_matches_reference(silu, reverse):
    check(inputs(), silu=silu, reverse=reverse)


@pytest.mark.parametrize('sizes', [(1, 1, 4), (300, 70, 3), (5, 3, 1), (3, 3, 7)], ids=str)
def test_matches_reference_at_other_sizes(sizes):
    check(inputs(*sizes), silu=True)


def along_routes(length: int = 9, channels: int = 5, count: int = 3, **options) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(1)
    one = inputs(length, channels, **options)
    several = {name: torch.stack([one[name] * (k + 1) for k in range(count)]) for name in ('weight', 'bias')}
    routes = torch.stack([torch.randperm(length, generator=g) for _ in range(count)])
    return one | several | dict(routes=routes)


@pytest.mark.parametrize('silu', [False, True])
@pytest.mark.parametrize('sizes', [(9, 5, 3), (300, 70, 2), (1, 1, 1)], ids=str)
def test_routes_match_reference(sizes, silu):
    check(along_routes(*sizes), silu=silu)


def test_routes_over_half_of_a_projection_and_with_shared_weights():
    tensors = along_routes(channels=6)
    x = torch.cat([tensors['x'], tensors['x']], dim=-1).chunk(2, dim=-1)[1]
    shared = {name: tensors[name][:1].expand_as(tensors[name]) for name in ('weight', 'bias')}
    check(tensors | shared | dict(x=x), silu=True)


def test_straight_and_reversed_routes_are_what_reverse_says():
    tensors, steps = inputs(), torch.arange(9)
    both = {name: tensors[name].expand(2, *tensors[name].shape) for name in ('weight', 'bias')}
    y = causal_conv1d(tensors['x'], **both, routes=torch.stack([steps, steps.flip(0)]), backend=BACKEND)
    apart = [causal_conv1d(**tensors, reverse=reverse, backend=BACKEND) for reverse in (False, True)]
    assert_close(dict(y=y), dict(y=torch.cat(apart, dim=-1)), torch.float32)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
def test_matches_reference_in_half_precision(dtype):
    check(inputs(dtype=dtype), dtype, silu=True)


def test_bias_is_optional():
    tensors = inputs()
    del tensors['bias']
    check(tensors)


def test_half_of_a_projection():
    tensors = inputs(channels=6)
    x = torch.cat([tensors['x'], tensors['x']], dim=-1).chunk(2, dim=-1)[1]
    check(tensors | dict(x=x), silu=True)


def test_rows_of_another_stride():
    tensors = inputs()
    check(tensors | dict(x=tensors['x'].transpose(1, 2).contiguous().transpose(1, 2)))


def test_shape_of_the_weight_is_checked():
    with pytest.raises(ValueError, match=r'expected weight of shape \(D, W\) with D = 5'):
        causal_conv1d(torch.zeros(1, 3, 5), torch.zeros(4, 4))


def test_routes_are_checked():
    x, routes = torch.zeros(1, 3, 5), torch.arange(3).expand(2, -1)
    weight = torch.zeros(2, 5, 4)
    with pytest.raises(ValueError, match=r'expected routes of shape \(K, L\), int64, with L = 3, got \(2, 2\)'):
        causal_conv1d(x, weight, routes=routes[:, :2])
    with pytest.raises(ValueError, match=r'expected weight of shape \(K, D, W\) with K = 2, D = 5 and W >= 1'):
        causal_conv1d(x, weight[0], routes=routes)
    with pytest.raises(ValueError, match=r'reverse=True has no meaning for routes; flip them'):
        causal_conv1d(x, weight, reverse=True, routes=routes)


@pytest.mark.skipif(BACKEND == 'torch', reason='the operator is the Triton one')
def test_operator_passes_opcheck():
    from mmmamba.ops.causal_conv1d.interface import _causal_conv1d_op

    torch.library.opcheck(_causal_conv1d_op, (*(t.requires_grad_() for t in inputs().values()), None, True, False))
    x, weight, bias, routes = along_routes().values()
    leaves = (t.requires_grad_() for t in (x, weight, bias))
    torch.library.opcheck(_causal_conv1d_op, (*leaves, routes, True, False))
