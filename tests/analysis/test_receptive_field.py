"""The effective receptive field."""

import pytest
import torch
from torch import nn

from mmmamba.analysis.receptive_field import area_ratio, receptive_field
from mmmamba.models import VMamba


def test_the_field_of_a_convolution_is_its_kernel():
    conv = nn.Conv2d(3, 1, 5, padding=2, bias=False)
    field = receptive_field(conv, [torch.randn(2, 3, 17, 17)])
    assert field.nonzero().amin(0).tolist() == [6, 6]
    assert field.nonzero().amax(0).tolist() == [10, 10]
    expected = conv.weight.sum(0).abs().sum(0).detach()
    torch.testing.assert_close(field[6:11, 6:11], expected, rtol=1e-4, atol=1e-6)


def test_the_ratio_is_the_share_of_the_smallest_square():
    field = torch.zeros(11, 11)
    field[5, 5] = 0.6
    field[5, 8] = 0.4
    assert area_ratio(field, 0.6) == pytest.approx(1 / 121)
    assert area_ratio(field, 0.61) == pytest.approx(49 / 121)
    assert area_ratio(torch.ones(10, 10), 1.0) == 1.0


def test_a_layer_norm_behind_the_map_does_not_hide_the_field():
    torch.manual_seed(0)
    norm = nn.LayerNorm(8)
    conv = nn.Conv2d(3, 8, 3, padding=1)
    field = receptive_field(lambda x: norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), [torch.randn(1, 3, 9, 9)])
    assert field[3:6, 3:6].min() > 1e-3
    assert len(field.nonzero()) == 9


def test_a_scan_sees_the_whole_image():
    torch.manual_seed(0)
    model = VMamba(dict(embed_dims=[8], depths=[1], patch_size=4), out_indices=(0,)).eval()
    field = receptive_field(model, [torch.randn(1, 3, 64, 64)])
    assert (field > 0).float().mean() > 0.99


def test_no_image_is_an_error():
    with pytest.raises(ValueError, match='no image'):
        receptive_field(nn.Identity(), [])
