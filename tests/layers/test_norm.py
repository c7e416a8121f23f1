"""Norms of channels-last maps."""

import pytest
import torch
from torch import nn

from mmmamba.layers import NORMS


@pytest.mark.parametrize('eps', [1e-5, 1e-2])
def test_layer_norm_is_over_the_channels_of_each_pixel(eps):
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    expected = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, correction=0, keepdim=True) + eps)
    torch.testing.assert_close(NORMS['LN'](5, eps).double()(x), expected)


def test_batch_norm_is_over_the_pixels_of_each_channel():
    norm, x = NORMS['BN'](5).double(), torch.randn(2, 3, 4, 5, dtype=torch.float64)
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2), correction=0)
    torch.testing.assert_close(norm(x), (x - mean) / torch.sqrt(variance + 1e-5))


def test_batch_norm_evaluates_with_its_running_statistics():
    norm = NORMS['BN'](5)
    for _ in range(200):
        norm(3 + 2 * torch.randn(8, 4, 4, 5))
    found = norm.eval()(torch.full((1, 1, 1, 5), 5.0))
    torch.testing.assert_close(found, torch.ones(1, 1, 1, 5), rtol=0, atol=0.1)


@pytest.mark.parametrize('name', NORMS)
def test_conversion_to_sync_batch_norm_keeps_the_layout(name):
    norm = NORMS[name](5).eval()
    x = torch.randn(2, 3, 4, 5)
    expected = norm(x)
    torch.testing.assert_close(nn.SyncBatchNorm.convert_sync_batchnorm(norm)(x), expected)
