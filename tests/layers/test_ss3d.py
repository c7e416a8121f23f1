"""SS3D against gather, 1-D reference scan, scatter and merge in fp64."""

import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import SS3D
from mmmamba.ops import reference
from mmmamba.scans import parse_route

SCANS = {
    'bidirectional_3d': (['raster_3d', 'raster_3d.reverse'], 1),
    'spatiotemporal': (['raster_3d', 'raster_3d.reverse', 'raster_3d.temporal'], 1 / 3),
    'hilbert_3d+snake_3d.temporal.reverse': (['hilbert_3d', 'snake_3d.temporal.reverse'], 1),
}


def write_out(m, x, routes, weight):
    t, h, w = x.shape[1:4]
    x, z = (x @ m.in_proj.weight.T).chunk(2, dim=-1)
    x = F.silu(F.conv3d(x.permute(0, 4, 1, 2, 3), m.conv.weight, m.conv.bias, padding=1, groups=x.shape[-1]))
    x = x.flatten(2).transpose(1, 2)  # (B, t * h * w, E)
    d_state, rank = m.A_log.shape[2], m.dt_proj_weight.shape[2]
    y = torch.zeros_like(x)
    for k, name in enumerate(routes):
        order = parse_route(name).order(t, h, w)
        low_rank, B, C = (x[:, order] @ m.x_proj_weight[k].T).split([rank, d_state, d_state], dim=-1)
        options = dict(delta_bias=m.dt_proj_bias[k], delta_softplus=True)
        delta = low_rank @ m.dt_proj_weight[k].T
        y = y.index_add(
            1, order, reference.selective_scan(x[:, order], delta, -m.A_log[k].exp(), B, C, m.D[k], **options)
        )
    y = F.layer_norm(y * weight, y.shape[-1:], m.out_norm.weight, m.out_norm.bias).unflatten(1, (t, h, w))
    return (y * F.silu(z)) @ m.out_proj.weight.T


@pytest.mark.parametrize('size', [(3, 5, 4), (1, 3, 7), (2, 1, 1)], ids=str)
@pytest.mark.parametrize('scan', SCANS)
def test_output_and_gradients_match_the_formulas(scan, size):
    torch.manual_seed(0)
    mixer = SS3D(6, d_state=3, conv_bias=True, gate=True, scan=scan).double()
    x = torch.randn(2, *size, 6, dtype=torch.float64, requires_grad=True)
    found, expected = mixer(x), write_out(mixer, x, *SCANS[scan])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    leaves, wanted = [x, *mixer.parameters()], torch.randn_like(found)
    a, b = (torch.autograd.grad((y * wanted).sum(), leaves, retain_graph=True) for y in (found, expected))
    for left, right in zip(a, b, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize('scan', ['cross', 'atrous'])
def test_scans_over_maps_are_refused(scan):
    with pytest.raises(ValueError, match=f"scan '{scan}' is for maps, this mixer for volumes; scans: "):
        SS3D(8, scan=scan)


def test_the_graph_compiles_whole():
    mixer = SS3D(8, scan='spatiotemporal').eval()
    x = torch.randn(1, 3, 4, 5, 8)
    torch.testing.assert_close(torch.compile(mixer, fullgraph=True, backend='eager')(x), mixer(x))
