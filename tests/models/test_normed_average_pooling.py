"""The neck that norms the mean of a map."""

import torch

from mmmamba.models.necks import NormedAveragePooling


def test_each_map_becomes_the_normed_mean_of_its_pixels():
    neck, maps = NormedAveragePooling(5, eps=1e-3), [torch.randn(2, 5, 3, 4), torch.randn(2, 5, 1, 1)]
    torch.nn.init.normal_(neck.norm.weight)
    for found, x in zip(neck(maps), maps, strict=True):
        mean = x.flatten(2).mean(2)
        centred = mean - mean.mean(1, keepdim=True)
        expected = centred / torch.sqrt(centred.square().mean(1, keepdim=True) + 1e-3) * neck.norm.weight
        torch.testing.assert_close(found, expected)
