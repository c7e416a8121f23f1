"""LayerNorm, convolutions and residual branches on Triton on CUDA, at the sizes models have, against fp64."""

import copy

import pytest
import torch
from scan_cases import assert_close, values_and_gradients
from torch import nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers import SS2D, LayerNorm, Mlp, add_mlp, add_ss2d
from mmmamba.ops import causal_conv1d, depthwise_conv2d, layer_norm, use_backend


def randn(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator('cuda').manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator, device='cuda').to(dtype)


@pytest.mark.parametrize('channels', [96, 384, 768, 1536])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize('result', [torch.float32, torch.bfloat16], ids=str)
def test_layer_norm_matches(channels, dtype, result):
    inputs = dict(x=randn(3, 29, 31, channels, dtype=dtype), weight=randn(channels), bias=randn(channels))
    dy = randn(3, 29, 31, channels).to(result)
    found = values_and_gradients(lambda **t: layer_norm(**t, dtype=result), inputs, dy)
    expected = values_and_gradients(
        lambda x, weight, bias: F.layer_norm(x.double(), x.shape[-1:], weight.double(), bias.double()), inputs, dy
    )
    lowest = torch.bfloat16 if torch.bfloat16 in (dtype, result) else torch.float32
    assert_close(found, expected, lowest)


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('reverse', [False, True])
def test_causal_conv1d_matches(dtype, reverse):
    inputs = dict(x=randn(8, 197, 384, dtype=dtype), weight=randn(384, 4), bias=randn(384))
    options = dict(silu=True, reverse=reverse)
    dy = randn(8, 197, 384, dtype=dtype)
    found = values_and_gradients(lambda **t: causal_conv1d(**t, **options), inputs, dy)
    wide = {name: t.double() for name, t in inputs.items()}
    expected = values_and_gradients(lambda **t: causal_conv1d(**t, **options, backend='torch'), wide, dy)
    assert_close(found, expected, dtype)


@pytest.mark.parametrize('shape', [(8, 56, 56, 96), (8, 7, 7, 768), (2, 50, 80, 100)], ids=str)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_depthwise_conv2d_matches(shape, dtype):
    channels = shape[-1]
    inputs = dict(x=randn(*shape, dtype=dtype), weight=randn(channels, 1, 3, 3), bias=randn(channels))
    dy = randn(*shape).to(dtype)
    found = values_and_gradients(lambda **t: depthwise_conv2d(**t, silu=True), inputs, dy)
    wide = {name: t.double() for name, t in inputs.items()}
    expected = values_and_gradients(lambda **t: depthwise_conv2d(**t, silu=True, backend='torch'), wide, dy)
    assert_close(found, expected, dtype)


@pytest.mark.parametrize('kind', ['mlp', 'ss2d'])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_residual_branches_match(kind, dtype):
    """One autograd node against its modules in fp64, the result and every gradient."""
    torch.manual_seed(0)
    inner = Mlp(96, 384) if kind == 'mlp' else SS2D(96, ssm_ratio=1.0)
    modules = nn.ModuleList([LayerNorm(96, narrow=True), inner, StochasticDepth(0.0, mode='row')]).cuda()
    add = add_mlp if kind == 'mlp' else add_ss2d

    def run(modules: nn.ModuleList, x: torch.Tensor, dy: torch.Tensor) -> dict[str, torch.Tensor]:
        leaf = x.clone().requires_grad_()
        y = add(leaf, *modules)
        y.backward(dy.to(y.dtype))
        return dict(y=y.detach(), dx=leaf.grad) | {name: p.grad for name, p in modules.named_parameters()}

    x, dy = randn(2, 23, 31, 96), randn(2, 23, 31, 96)
    exact = copy.deepcopy(modules).double()
    with torch.autocast('cuda', dtype, enabled=dtype != torch.float32):
        found = run(modules, x, dy)
    with use_backend('torch'):
        assert_close(found, run(exact, x.double(), dy), dtype)
