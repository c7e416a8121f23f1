import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import SelectiveChannelMixer
from mmmamba.layers.channel_mixer import cell_shares
from mmmamba.layers.mamba_mixer import MambaBranch


def mixer(**options):
    """One whose parameters differ from cell to cell."""
    torch.manual_seed(0)
    layer = SelectiveChannelMixer(6, grid=3, d_state=4, **options).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return layer


@pytest.mark.parametrize(('size', 'cells'), [(1, 7), (5, 7), (7, 7), (8, 7), (30, 7)])
def test_shares_of_a_pixel_sum_to_one_and_cells_are_equal(size, cells):
    shares = cell_shares(size, cells)
    torch.testing.assert_close(shares.sum(1), torch.ones(size, dtype=torch.float64))
    torch.testing.assert_close(shares.sum(0), torch.full((cells,), size / cells, dtype=torch.float64))


@torch.no_grad()
def test_on_its_grid_it_is_mamba_along_the_channels_both_ways():
    layer, x = mixer(ratio=2), torch.randn(2, 3, 3, 6, dtype=torch.float64)
    u, z = layer.in_proj(x).chunk(2, dim=-1)
    sequence = u.flatten(1, 2).transpose(1, 2)  # 12 channels, 9 positions
    forwards, backwards = (
        MambaBranch.forward(branch, sequence, None, reverse)
        for branch, reverse in zip(layer.branches, (0, 1), strict=True)
    )
    expected = layer.out_proj((forwards + backwards).transpose(1, 2).view(2, 3, 3, 12) * F.silu(z))
    torch.testing.assert_close(layer(x), expected)


@torch.no_grad()
def test_a_map_twice_as_fine_gives_the_same_twice_as_fine():
    layer, x = mixer(), torch.randn(2, 3, 3, 6, dtype=torch.float64)
    fine = x.repeat_interleave(2, 1).repeat_interleave(2, 2)
    torch.testing.assert_close(layer(fine), layer(x).repeat_interleave(2, 1).repeat_interleave(2, 2))


@torch.no_grad()
def test_the_last_channel_tells_in_the_first_and_the_other_way_round():
    layer = mixer(ratio=1)
    layer.in_proj.weight.copy_(torch.eye(6, dtype=torch.float64).repeat(2, 1))
    layer.out_proj.weight.copy_(torch.eye(6))
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    for changed, read in ((0, -1), (-1, 0)):
        other = x.clone()
        other[..., changed] += 1
        assert (layer(other) - layer(x))[..., read].abs().min() > 0
