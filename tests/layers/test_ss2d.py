"""SS2D against the formulas of the paper, written out with einsum and the fp64 reference scan."""

import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import SS2D
from mmmamba.ops import reference, use_backend
from mmmamba.scans import build_scan


def build(seed=0, **options):
    torch.manual_seed(seed)
    mixer = SS2D(8, **options).double()
    for name, parameter in mixer.named_parameters():  # values at which every part of the layer shows
        if name not in ('dt_proj_bias', 'A_log'):
            torch.nn.init.normal_(parameter, std=0.5)
    return mixer


def write_out(mixer, x):
    """Project, convolve, scan, norm, gate, project, from the parameters of the mixer."""
    x = F.linear(x, mixer.in_proj.weight, mixer.in_proj.bias)
    x, z = x.chunk(2, dim=-1) if mixer.gate else (x, None)
    kernel = mixer.conv.weight[:, 0]
    height, width = x.shape[1:3]
    size = kernel.shape[1]
    padded = F.pad(x, (0, 0, *4 * [size // 2]))
    taps = itertools.product(range(size), repeat=2)
    x = sum(padded[:, i : i + height, j : j + width] * kernel[:, i, j] for i, j in taps)
    x = x if mixer.conv.bias is None else x + mixer.conv.bias
    x = x * torch.sigmoid(x)
    parameters = (mixer.x_proj_weight, mixer.dt_proj_weight, mixer.dt_proj_bias, -mixer.A_log.exp(), mixer.D)
    y = reference.selective_scan_2d(x, build_scan(mixer.scan).tables(height, width), *parameters)
    if isinstance(mixer.out_norm, torch.nn.LayerNorm):
        centred = y - y.mean(-1, keepdim=True)
        y = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + 1e-5)
        y = y * mixer.out_norm.weight + mixer.out_norm.bias
    y = y if z is None else y * z * torch.sigmoid(z)
    return F.linear(y, mixer.out_proj.weight, mixer.out_proj.bias)


OPTIONS = {
    's2': dict(),
    's1': dict(ssm_ratio=1.0),
    'v0': dict(d_state=16, conv_bias=True, gate=True),
    'rank 3': dict(dt_rank=3),
    'bidirectional': dict(scan='bidirectional'),
    'as in PlainMamba': dict(conv_size=5, conv_bias=True, proj_bias=True, normed=False, gate=True),
    'one column route': dict(scan=['raster.transpose']),
}


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (7, 4)], ids=str)
@pytest.mark.parametrize('options', OPTIONS)
def test_output_matches_the_formulas(options, size):
    mixer = build(**OPTIONS[options])
    x = torch.randn(2, *size, 8, dtype=torch.float64)
    torch.testing.assert_close(mixer(x), write_out(mixer, x), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize('options', OPTIONS)
def test_every_parameter_gets_a_finite_gradient(options):
    mixer = build(**OPTIONS[options])
    mixer(torch.randn(2, 5, 7, 8, dtype=torch.float64)).square().mean().backward()
    missing = [n for n, p in mixer.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not missing


@pytest.mark.parametrize(('options', 'shapes'), [
    (dict(), dict(x_proj_weight=(4, 3, 16), dt_proj_weight=(4, 16, 1), A_log=(4, 16, 1), D=(4, 16))),
    (dict(d_state=5, dt_rank=2, scan='bidirectional'),
     dict(x_proj_weight=(2, 12, 16), dt_proj_weight=(2, 16, 2), A_log=(2, 16, 5), D=(2, 16))),
])  # fmt: skip
def test_every_route_has_its_own_parameters(options, shapes):
    mixer = SS2D(8, **options)
    assert {name: tuple(getattr(mixer, name).shape) for name in shapes} == shapes


@pytest.mark.parametrize(('embed_dims', 'rank'), [(8, 1), (16, 1), (17, 2), (96, 6)])
def test_automatic_rank_is_a_sixteenth_rounded_up(embed_dims, rank):
    assert SS2D(embed_dims, ssm_ratio=1.0).dt_proj_weight.shape[2] == rank


def test_state_space_starts_as_published():
    torch.manual_seed(0)
    mixer = SS2D(64, d_state=16)
    assert torch.equal(mixer.A_log.exp().round(), torch.arange(1.0, 17).expand(4, 128, 16))
    assert torch.equal(mixer.D, torch.ones(4, 128))
    steps = F.softplus(mixer.dt_proj_bias)
    assert 0.999e-3 <= steps.min() < 2e-3
    assert 0.05 < steps.max() <= 1.001e-1
    assert steps.log().mean().item() == pytest.approx(math.log(1e-2), abs=0.3)  # log-uniform
    assert 0.9 * 128**-0.5 < mixer.x_proj_weight.abs().max() <= 128**-0.5
    assert 0.9 * 4**-0.5 < mixer.dt_proj_weight.abs().max() <= 4**-0.5


def test_bf16_autocast_loses_no_more_in_the_scan_than_around_it():
    """Against the same layer under autocast whose scan, with its projections, is the fp64 reference."""
    mixer = build().float()
    x = torch.randn(2, 9, 9, 8)
    exact = mixer(x)
    with torch.autocast('cpu', torch.bfloat16):
        found = mixer(x)
        with use_backend('reference'):
            least = mixer(x)
    assert found.dtype == torch.bfloat16
    assert (found - exact).square().mean() < 2 * (least - exact).square().mean()


@pytest.mark.parametrize('conv_size', [0, 4])
def test_an_even_convolution_is_refused(conv_size):
    with pytest.raises(ValueError, match=f'conv_size {conv_size} must be odd'):
        SS2D(8, conv_size=conv_size)
