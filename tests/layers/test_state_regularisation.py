"""State dropout and weight normalisation, in SS2D, SS3D and the scans."""

import copy

import pytest
import torch

from mmmamba.layers import SS2D, SS3D
from mmmamba.layers.scans import StateSpace
from mmmamba.models import VMamba
from mmmamba.ops import selective_scan_2d

SCANS = ['cross', 'continuous', 'local', 'atrous', 'multiscale', 'grouped', 'gated', 'adaptive', 'sparse']


def build(seed=0, **options):
    torch.manual_seed(seed)
    return SS2D(8, d_state=6, **options).double()


def test_state_dropout_scales_c_by_a_mask_of_each_sample():
    mixer, x = build(state_dropout=0.5), torch.randn(3, 5, 7, 16, dtype=torch.float64)
    mask = torch.tensor([[0.0, 2, 2, 0, 0, 2], [2.0, 2, 0, 0, 0, 0], [0.0] * 6]).double()
    tables = mixer.scan.tables(5, 7)
    found = mixer.scan_along(x, tables, state_mask=mask)
    for b in range(3):  # the mask moves into the rows of x_proj that make C
        weight = mixer.x_proj_weight.detach().clone()
        weight[:, -6:] *= mask[b, None, :, None]
        rest = (mixer.dt_proj_weight, mixer.dt_proj_bias, -mixer.A_log.exp(), mixer.D)
        torch.testing.assert_close(found[b : b + 1], selective_scan_2d(x[b : b + 1], tables, weight, *rest))


@pytest.mark.parametrize('scan', SCANS)
def test_state_dropout_acts_in_training_only(scan):
    plain, dropping = build(scan=scan), build(scan=scan, state_dropout=0.5)
    assert plain.state_dict().keys() == dropping.state_dict().keys()
    x = torch.randn(2, 5, 7, 8, dtype=torch.float64)
    assert torch.equal(plain.eval()(x), dropping.eval()(x))
    first, second = dropping.train()(x), dropping(x)
    assert not torch.equal(first, second)
    first.sum().backward()
    assert all(p.grad.isfinite().all() for p in dropping.parameters() if p.grad is not None)


def test_state_dropout_keeps_the_mean():
    mixer, x = build(state_dropout=0.5), torch.randn(1, 3, 4, 16, dtype=torch.float64)
    tables = mixer.scan.tables(3, 4)
    exact = selective_scan_2d(x, tables, *mixer.scan_parameters(slice(None), 4))
    torch.manual_seed(0)
    mean = mixer.scan_along(x.expand(4000, -1, -1, -1), tables).mean(0, keepdim=True)
    assert (mean - exact).abs().max() < 0.05 * exact.abs().max()


@pytest.mark.parametrize('rate', [1.0, -0.1])
def test_a_bad_rate_is_refused(rate):
    with pytest.raises(ValueError, match=r'state_dropout .* is not in \[0, 1\)'):
        StateSpace(dropout=rate)


@pytest.mark.parametrize('scan', SCANS)
def test_weight_norm_starts_at_the_same_function(scan):
    plain, normed = build(scan=scan, dt_rank=3).eval(), build(scan=scan, dt_rank=3, weight_norm=True).eval()
    x = torch.randn(2, 5, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(normed(x), plain(x))
    more = set(normed.state_dict()) - set(plain.state_dict())
    assert any(name.endswith('x_proj_weight.original0') for name in more)
    assert 'parametrizations.weight.original1' in str(more)


def test_weight_norm_is_scale_times_direction():
    mixer = build(weight_norm=True, dt_rank=3)
    with torch.no_grad():
        for name in ('x_proj_weight', 'dt_proj_weight'):
            g, v = mixer.parametrizations[name].original0, mixer.parametrizations[name].original1
            before = getattr(mixer, name).clone()
            v.mul_(7)  # its length does not matter
            torch.testing.assert_close(getattr(mixer, name), before)
            g.mul_(2)
            torch.testing.assert_close(getattr(mixer, name), 2 * before)


def test_weight_norm_leaves_rows_of_one_element_alone():
    assert 'dt_proj_weight' in build(weight_norm=True, dt_rank=1).state_dict()


def test_backbone_takes_both_from_its_arch_and_starts_as_without():
    arch = dict(embed_dims=[16, 32], depths=[1, 1], d_state=2)
    models = []
    for more in ({}, dict(state_dropout=0.3, weight_norm=True)):
        torch.manual_seed(0)
        models.append(VMamba({**arch, **more}, out_indices=(1,)))
    plain, regular = models
    x = torch.randn(2, 3, 33, 47)
    torch.testing.assert_close(regular.eval()(x), plain.eval()(x))
    assert 0.015 < regular.stages[1].blocks[0].mixer.out_proj.weight.std() < 0.025  # initialised through the norm
    twin = copy.deepcopy(regular)
    assert torch.equal(twin(x)[0], regular(x)[0])
    regular.train()(x)[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in regular.parameters())


def test_volumes_take_both():
    mixer = SS3D(8, d_state=2, state_dropout=0.5, weight_norm=True)
    mixer(torch.randn(2, 3, 4, 5, 8)).sum().backward()
    assert all(p.grad.isfinite().all() for p in mixer.parameters())
