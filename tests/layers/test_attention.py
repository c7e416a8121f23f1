"""Attention against its formula."""

import pytest
import torch

from mmmamba.layers import Attention


@pytest.mark.parametrize('qkv_bias', [True, False])
@pytest.mark.parametrize('num_heads', [1, 2, 4])
def test_attention_is_a_softmax_of_scaled_products_in_each_head(num_heads, qkv_bias):
    torch.manual_seed(0)
    layer, x = Attention(8, num_heads, qkv_bias=qkv_bias).double(), torch.randn(2, 5, 8, dtype=torch.float64)
    assert (layer.qkv.bias is not None) == qkv_bias
    heads = []
    for q, k, v in zip(*(part.chunk(num_heads, -1) for part in layer.qkv(x).chunk(3, -1)), strict=True):
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)
        heads.append(weights @ v)
    torch.testing.assert_close(layer(x), layer.proj(torch.cat(heads, -1)), rtol=1e-10, atol=1e-10)


def test_only_the_first_tokens_may_ask():
    layer, x = Attention(8, 2), torch.randn(2, 5, 8)
    torch.testing.assert_close(layer(x, queries=2), layer(x)[:, :2])


@pytest.mark.parametrize('num_heads', [0, 3])
def test_heads_that_do_not_divide_the_channels_are_named(num_heads):
    with pytest.raises(ValueError, match=f'num_heads {num_heads} must divide the 8 channels; choose a divisor'):
        Attention(8, num_heads)
