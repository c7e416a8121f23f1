"""The 1-D mixer on a map is the 1-D mixer on the pixels in the order of the route."""

import pytest
import torch

from mmmamba.layers import MambaMixer, MapMambaMixer
from mmmamba.scans import build_scan


@pytest.mark.parametrize('scan', ['raster', 'raster.transpose.reverse', 'snake'])
def test_pixels_are_mixed_in_the_order_of_the_route(scan):
    torch.manual_seed(0)
    mixer, x = MapMambaMixer(8, scan=scan, d_state=4).double(), torch.randn(2, 3, 5, 8, dtype=torch.float64)
    (order,) = build_scan(scan).tables(3, 5)
    expected = torch.empty(2, 15, 8, dtype=torch.float64)
    expected[:, order] = MambaMixer.forward(mixer, x.flatten(1, 2)[:, order])
    torch.testing.assert_close(mixer(x), expected.view(x.shape))


@pytest.mark.parametrize(
    ('scan', 'axes'),
    [
        ('raster_3d', (0, 1, 2)),
        ('raster_3d.transpose', (0, 2, 1)),
        ('raster_3d.temporal.transpose', (2, 1, 0)),
    ],
)
@pytest.mark.parametrize('reverse', [False, True])
def test_voxels_are_mixed_in_the_order_of_the_transposed_volume(scan, axes, reverse):
    """Sides of three lengths; ``axes`` are those of (t, h, w), slowest first."""
    torch.manual_seed(0)
    mixer = MapMambaMixer(8, scan=scan + '.reverse' * reverse, d_state=4, axes=3).double()
    x = torch.randn(2, 2, 3, 5, 8, dtype=torch.float64)
    transposed = x.permute(0, *(1 + axis for axis in axes), 4)
    tokens = transposed.flatten(1, 3)
    mixed = MambaMixer.forward(mixer, tokens.flip(1)).flip(1) if reverse else MambaMixer.forward(mixer, tokens)
    inverse = [1 + axes.index(axis) for axis in range(3)]
    torch.testing.assert_close(mixer(x), mixed.view(transposed.shape).permute(0, *inverse, 4))


def test_a_route_of_another_number_of_axes_is_refused():
    with pytest.raises(ValueError, match="scan 'raster' is for maps, this mixer for volumes; scans: "):
        MapMambaMixer(8, scan='raster', axes=3)
    with pytest.raises(ValueError, match="scan 'raster_3d' is for volumes, this mixer for maps"):
        MapMambaMixer(8, scan='raster_3d')


def test_more_than_one_route_is_refused():
    with pytest.raises(ValueError, match="scan 'bidirectional' has 2 routes; this mixer walks one"):
        MapMambaMixer(8, scan='bidirectional')
