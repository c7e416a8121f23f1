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
    dy = torch.randn(tensors['x'].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
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


@pytest.mark.skipif(BACKEND == 'torch', reason='the operator is the Triton one')
def test_operator_passes_opcheck():
    from mmmamba.ops.causal_conv1d.interface import _causal_conv1d_op

    torch.library.opcheck(_causal_conv1d_op, (*(t.requires_grad_() for t in inputs().values()), True, False))
