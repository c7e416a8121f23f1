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


def test_more_than_one_route_is_refused():
    with pytest.raises(ValueError, match="scan 'bidirectional' has 2 routes; this mixer walks one"):
        MapMambaMixer(8, scan='bidirectional')
