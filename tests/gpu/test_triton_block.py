"""LayerNorm and causal convolution on Triton on CUDA, at the sizes models have, against PyTorch in fp64."""

import pytest
import torch
from scan_cases import assert_close, values_and_gradients
from torch.nn import functional as F

from mmmamba.ops import causal_conv1d, layer_norm


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
