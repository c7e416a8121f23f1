"""The depthwise convolution of channels-last maps on Triton against PyTorch in fp64, values and every gradient."""

import copy
import os

import pytest
import torch
from scan_cases import assert_close, values_and_gradients
from torch import Tensor
from torch.nn import functional as F

from mmmamba.layers import SS2D
from mmmamba.layers import ss2d as ss2d_layer
from mmmamba.ops import depthwise_conv2d, use_backend

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)


def reference(x: Tensor, weight: Tensor, bias: Tensor | None = None, silu: bool = False) -> Tensor:
    bias = bias if bias is None else bias.double()
    y = F.conv2d(
        x.double().permute(0, 3, 1, 2), weight.double(), bias, padding=weight.shape[-1] // 2, groups=x.shape[-1]
    )
    return (F.silu(y) if silu else y).permute(0, 2, 3, 1)


def inputs(*shape: int, size: int = 3, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = dict(x=shape, weight=(shape[-1], 1, size, size), bias=shape[-1:])
    tensors = {name: torch.randn(*s, generator=g) for name, s in shapes.items()}
    return tensors | dict(x=tensors['x'].to(dtype))


def check(tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32, **options) -> None:
    dy = torch.randn(tensors['x'].shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    found = values_and_gradients(lambda **t: depthwise_conv2d(**t, **options, backend='triton'), tensors, dy)
    assert found['output'].dtype == dtype
    assert found['output'].is_contiguous()
    assert_close(found, values_and_gradients(lambda **t: reference(**t, **options), tensors, dy), dtype)


@pytest.mark.parametrize('shape', [(1, 1, 1, 1), (2, 1, 6, 5), (2, 5, 1, 33), (3, 7, 9, 96)], ids=str)
@pytest.mark.parametrize('size', [1, 3, 5, 7])
def test_matches_fp64(shape, size):
    check(inputs(*shape, size=size), silu=True)


def test_strips_of_several_chunks_match_fp64():
    check(inputs(2, 19, 11, 33), silu=True)


@pytest.mark.parametrize('silu', [False, True])
@pytest.mark.parametrize('bias', [False, True])
def test_bias_and_silu_are_optional(silu, bias):
    names = ('x', 'weight', 'bias') if bias else ('x', 'weight')
    check({name: inputs(2, 5, 4, 12)[name] for name in names}, silu=silu)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('narrow', [False, True], ids=['fp32 weights', 'all'])
def test_matches_fp64_in_half_precision(dtype, narrow):
    tensors = inputs(2, 6, 5, 24, dtype=dtype)
    check({name: t.to(dtype) for name, t in tensors.items()} if narrow else tensors, dtype, silu=True)


def test_strided_inputs():
    tensors = inputs(2, 5, 7, 12)
    half = torch.cat([tensors['x'], tensors['x']], dim=-1).chunk(2, dim=-1)[1]
    for x in (half, tensors['x'].transpose(1, 2), tensors['x'].permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)):
        check(tensors | dict(x=x, weight=tensors['weight'].transpose(2, 3)), silu=True)


def test_nothing_is_read_around_the_maps():
    from mmmamba.ops.depthwise_conv.triton_backward import depthwise_backward, weight_and_bias

    x, weight, _ = inputs(1, 1, 5, 12).values()
    memory = torch.full((3, 40, 5, 12), float('nan'))
    memory[1, :1] = x[0]
    amid_nan = memory[1:2, :1]
    dx, shares = depthwise_backward(amid_nan, amid_nan, weight, has_bias=True)
    dweight, dbias = weight_and_bias(shares.sum(0), 12)
    expected = values_and_gradients(reference, dict(x=x, weight=weight, bias=torch.zeros(12)), x)
    del expected['output']
    assert_close(dict(dx=dx, dweight=dweight, dbias=dbias), expected, torch.float32)


def test_input_of_silu_is_kept_where_it_is_wanted():
    from mmmamba.ops.depthwise_conv.triton_forward import depthwise_forward

    tensors = inputs(2, 5, 7, 12)
    y, conv = depthwise_forward(**tensors, silu=True, keep_input_of_silu=True)
    assert_close(
        dict(y=y, conv=conv), dict(y=reference(**tensors, silu=True), conv=reference(**tensors)), torch.float32
    )


def test_gradient_of_the_bias_is_made_where_it_is_wanted():
    from mmmamba.ops.depthwise_conv.triton_backward import depthwise_backward, weight_and_bias

    x, weight, _ = inputs(2, 5, 7, 12).values()
    dx, shares = depthwise_backward(x, x, weight, has_bias=False)
    dweight, dbias = weight_and_bias(shares.sum(0), 12)
    assert len(dbias) == 0
    expected = values_and_gradients(reference, dict(x=x, weight=weight), x)
    assert_close(dict(dx=dx, dweight=dweight), {name: expected[name] for name in ('dx', 'dweight')}, torch.float32)


@pytest.mark.parametrize('hooked', [False, True])
def test_ss2d_convolves_by_the_op_unless_a_hook_waits_for_its_module(hooked, monkeypatch):
    mixer, calls = SS2D(6, gate=True, conv_bias=True), []
    monkeypatch.setattr(ss2d_layer, 'depthwise_conv2d', lambda *a, **k: calls.append(1) or depthwise_conv2d(*a, **k))
    if hooked:
        mixer.conv.register_forward_hook(lambda *_: None)
    x = torch.randn(2, 3, 4, 6)
    dy = torch.randn(2, 3, 4, 6)
    with use_backend('triton'):
        found = values_and_gradients(mixer, dict(x=x), dy)
    assert bool(calls) != hooked
    with use_backend('torch'):
        expected = values_and_gradients(copy.deepcopy(mixer).double(), dict(x=x.double()), dy)
    assert_close(found, expected, torch.float32)


def test_operator_passes_opcheck():
    from mmmamba.ops.depthwise_conv.interface import _depthwise_conv2d_op

    x, weight, bias = (t.requires_grad_() for t in inputs(2, 3, 4, 5).values())
    torch.library.opcheck(_depthwise_conv2d_op, (x, weight, bias, True))
    torch.library.opcheck(_depthwise_conv2d_op, (x, weight, None, False))


@pytest.mark.parametrize('backend', ['torch', 'auto'])
def test_pytorch_serves_where_triton_does_not(backend):
    tensors = inputs(2, 5, 4, 12)
    y = depthwise_conv2d(**tensors, silu=True, backend=backend)
    assert_close(dict(y=y), dict(y=reference(**tensors, silu=True)), torch.float32)
    wide = {name: t.double() for name, t in tensors.items()}
    assert_close(dict(y=depthwise_conv2d(**wide, backend='triton')), dict(y=reference(**wide)), torch.float64)
    assert depthwise_conv2d(tensors['x'][:0], tensors['weight'], backend=backend).shape == (0, 5, 4, 12)


def test_autocast_leaves_the_dtype_of_the_map():
    tensors = inputs(2, 5, 4, 12)
    with torch.autocast('cpu', torch.bfloat16):
        for backend in ('torch', 'triton'):
            y = depthwise_conv2d(**tensors, backend=backend)
            assert_close(dict(y=y), dict(y=reference(**tensors)), torch.float32)


def test_wrong_shapes_are_refused():
    x = torch.zeros(1, 4, 4, 12)
    with pytest.raises(ValueError, match=r'expected x of shape \(B, H, W, E\), got \(4, 4, 12\)'):
        depthwise_conv2d(x[0], torch.zeros(12, 1, 3, 3))
    for shape in ((11, 1, 3, 3), (12, 1, 2, 2), (12, 1, 3, 5), (12, 3)):
        with pytest.raises(ValueError, match=rf'with E = 12 and odd size, got {str(shape)[:-1]}'.replace('(', r'\(')):
            depthwise_conv2d(x, torch.zeros(shape))
    with pytest.raises(ValueError, match=r'expected bias of shape \(12,\), got \(11,\)'):
        depthwise_conv2d(x, torch.zeros(12, 1, 3, 3), torch.zeros(11))
