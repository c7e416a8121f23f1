"""Downsampling layers: sizes, and values against a plain loop over the output pixels."""

import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import ConvDownsample, PatchMerging

SIZES = [(1, 1), (1, 6), (4, 4), (5, 8), (7, 3)]
LAYERS = {
    'v1': lambda: PatchMerging(6, 10),
    'v2': lambda: ConvDownsample(6, 10, kernel_size=2),
    'v3': lambda: ConvDownsample(6, 10),
}


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('version', LAYERS)
def test_sizes_are_halved_and_rounded_up(version, size):
    found = LAYERS[version]()(torch.randn(2, *size, 6))
    assert found.shape == (2, -(-size[0] // 2), -(-size[1] // 2), 10)


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_patch_merging_concatenates_down_then_right_and_pads_before_the_norm(size):
    layer = PatchMerging(6, 10).double()
    torch.nn.init.normal_(layer.norm.weight)
    torch.nn.init.normal_(layer.norm.bias)
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    found = layer(x)
    padded = torch.zeros(2, size[0] + 1, size[1] + 1, 6, dtype=torch.float64)
    padded[:, : size[0], : size[1]] = x
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            four = [padded[:, 2 * i + di, 2 * j + dj] for di, dj in ((0, 0), (1, 0), (0, 1), (1, 1))]
            normed = F.layer_norm(torch.cat(four, dim=-1), (24,), layer.norm.weight, layer.norm.bias, 1e-5)
            torch.testing.assert_close(found[:, i, j], normed @ layer.reduction.weight.T)


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize(('version', 'kernel', 'before'), [('v2', 2, 0), ('v3', 3, 1)])
def test_convolution_reads_zeros_outside_the_map(version, kernel, before, size):
    layer = LAYERS[version]().double()
    torch.nn.init.normal_(layer.norm.weight)
    x = torch.randn(2, *size, 6, dtype=torch.float64)
    found = layer(x)
    padded = torch.zeros(2, size[0] + 3, size[1] + 3, 6, dtype=torch.float64)
    padded[:, before : before + size[0], before : before + size[1]] = x
    for i in range(found.shape[1]):
        for j in range(found.shape[2]):
            window = padded[:, 2 * i : 2 * i + kernel, 2 * j : 2 * j + kernel]
            summed = torch.einsum('bhwc,ochw->bo', window, layer.conv.weight) + layer.conv.bias
            normed = F.layer_norm(summed, (10,), layer.norm.weight, layer.norm.bias, 1e-5)
            torch.testing.assert_close(found[:, i, j], normed)


def test_patch_merging_without_padding_leaves_out_the_last_of_an_odd_number_unless_it_is_alone():
    layer = PatchMerging(6, 10, pad=False)
    x = torch.randn(2, 5, 7, 6)
    assert torch.equal(layer(x), layer(x[:, :4, :6]))
    assert layer(x[:, :1]).shape == (2, 1, 3, 10)
