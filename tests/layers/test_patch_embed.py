"""Patch embeddings: sizes of the map, order of the parts."""

import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import ClipEmbed, ConvStem, PatchEmbed


@pytest.mark.parametrize(
    ('patch_size', 'size', 'expected'),
    [(4, (32, 48), (8, 12)), (4, (35, 33), (8, 8)), (4, (1, 1), (1, 1)), (4, (3, 9), (1, 2)), (2, (7, 6), (3, 3))],
    ids=str,
)
def test_patch_embed_leaves_out_the_rest_and_pads_an_image_smaller_than_a_patch(patch_size, size, expected):
    assert PatchEmbed(3, 8, patch_size)(torch.randn(2, 3, *size)).shape == (2, *expected, 8)


@pytest.mark.parametrize(
    ('patch_size', 'size', 'expected'),
    [(4, (32, 48), (8, 12)), (4, (35, 33), (9, 9)), (4, (1, 1), (1, 1)), (4, (3, 9), (1, 3)), (2, (7, 6), (4, 3))],
    ids=str,
)
def test_conv_stem_rounds_sizes_up(patch_size, size, expected):
    assert ConvStem(3, 8, patch_size)(torch.randn(2, 3, *size)).shape == (2, *expected, 8)


def test_patch_embed_is_one_linear_map_of_each_patch_then_a_norm():
    layer = PatchEmbed(3, 8).double()
    torch.nn.init.normal_(layer.norm.weight)
    x = torch.randn(2, 3, 8, 12, dtype=torch.float64)
    patches = F.unfold(x, 4, stride=4).transpose(1, 2).unflatten(1, (2, 3))  # (B, 3 * 16, 6) -> (B, 2, 3, 48)
    mapped = patches @ layer.conv.weight.flatten(1).T + layer.conv.bias
    expected = F.layer_norm(mapped, (8,), layer.norm.weight, layer.norm.bias, 1e-5)
    torch.testing.assert_close(layer(x), expected)


def test_clip_embed_is_one_linear_map_of_each_patch_of_a_clip_filled_up_with_zeros():
    layer = ClipEmbed(3, 8, (2, 4, 3)).double()
    x = torch.randn(2, 3, 3, 6, 10, dtype=torch.float64)
    full = torch.zeros(2, 3, 4, 8, 12, dtype=torch.float64)
    full[:, :, :3, :6, :10] = x
    expected = torch.empty(2, 2, 2, 4, 8, dtype=torch.float64)
    for t in range(2):
        for r in range(2):
            for c in range(4):
                patch = full[:, :, 2 * t : 2 * t + 2, 4 * r : 4 * r + 4, 3 * c : 3 * c + 3].flatten(1)
                expected[:, t, r, c] = patch @ layer.conv.weight.flatten(1).T + layer.conv.bias
    torch.testing.assert_close(layer(x), expected)
    assert layer.grid(3, 6, 10) == (2, 2, 4)


def test_conv_stem_is_convolution_norm_gelu_convolution_norm():
    layer = ConvStem(3, 8).double()
    for norm in (layer.norm1, layer.norm2):
        torch.nn.init.normal_(norm.weight)
    x = torch.randn(2, 3, 9, 12, dtype=torch.float64)
    half = F.conv2d(x, layer.conv1.weight, layer.conv1.bias, stride=2, padding=1).permute(0, 2, 3, 1)
    half = F.layer_norm(half, (4,), layer.norm1.weight, layer.norm1.bias, 1e-5)
    half = 0.5 * half * (1 + torch.erf(half / 2**0.5))  # exact GELU
    whole = F.conv2d(half.permute(0, 3, 1, 2), layer.conv2.weight, layer.conv2.bias, stride=2, padding=1)
    expected = F.layer_norm(whole.permute(0, 2, 3, 1), (8,), layer.norm2.weight, layer.norm2.bias, 1e-5)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize('patch_size', [1, 3, 8])
def test_conv_stem_refuses_other_patch_sizes(patch_size):
    with pytest.raises(ValueError, match=f"patch_size {patch_size} of patch embedding 'v2' must be 2 or 4; 'v1' takes"):
        ConvStem(3, 8, patch_size)
