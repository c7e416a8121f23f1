"""The specification, against what can be worked out on paper."""

import math

import pytest
import torch

from mmmamba.ops import reference


def _column(*values):
    return torch.tensor(values, dtype=torch.float64)[None, :, None]  # one sequence, one channel


def test_scan_worked_out_by_hand():
    """A = -log 2 and steps of 1 halve the state: h = 4, 2 + 6, 4 + 2; C = 1, 10, 100; D = 1000."""
    u, delta = _column(4, 3, 1), _column(1, 1, 1)
    B, C = _column(1, 2, 2), _column(1, 10, 100)
    A, D = torch.full((1, 1), -math.log(2)), torch.tensor([1000.0])
    y = reference.selective_scan(u, delta, A, B, C, D)
    torch.testing.assert_close(y, _column(4 + 4000, 80 + 3000, 600 + 1000), rtol=1e-6, atol=0)


def test_reverse_scan_worked_out_by_hand():
    """From the last step: h = 2, 1 + 6, 3.5 + 4."""
    u, delta = _column(4, 3, 1), _column(1, 1, 1)
    y = reference.selective_scan(
        u, delta, torch.full((1, 1), -math.log(2)), _column(1, 2, 2), _column(1, 10, 100), reverse=True
    )
    torch.testing.assert_close(y, _column(7.5, 70, 200), rtol=1e-6, atol=0)


def test_step_size_is_softplus_of_delta_plus_bias():
    u, zero = _column(1), torch.zeros(1, 1)
    y = reference.selective_scan(
        u,
        _column(0.3),
        zero,
        _column(1),
        _column(1),
        delta_bias=torch.tensor([0.2], dtype=torch.float64),
        delta_softplus=True,
    )
    assert y.item() == pytest.approx(math.log(1 + math.exp(0.5)), rel=1e-12)


@pytest.mark.parametrize('delta', [-60.0, -1.0, 0.0, 20.0, 40.0, 41.0, 800.0])
def test_softplus_and_its_gradient_are_exact(delta):
    step = _column(delta).requires_grad_()
    y = reference.selective_scan(_column(1), step, torch.zeros(1, 1), _column(1), _column(1), delta_softplus=True)
    (gradient,) = torch.autograd.grad(y.sum(), step)
    assert y.item() == pytest.approx(max(delta, 0) + math.log1p(math.exp(-abs(delta))), rel=1e-14)
    assert gradient.item() == pytest.approx(1 / (1 + math.exp(-delta)), rel=1e-14)


def test_gate_multiplies_by_silu():
    one = _column(1)
    y = reference.selective_scan(one, one, torch.zeros(1, 1), one, one, z=_column(0.7))
    assert y.item() == pytest.approx(0.7 / (1 + math.exp(-0.7)), rel=1e-12)


def test_channels_read_b_and_c_of_their_group():
    """Two groups of two channels, with A = 0 and one step: y = u * B * C of the group."""
    u = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    B, C = torch.tensor([10.0, 100.0]).view(1, 1, 2, 1), torch.tensor([1.0, -1.0]).view(1, 1, 2, 1)
    y = reference.selective_scan(u, torch.ones_like(u), torch.zeros(4, 1), B, C)
    assert y.flatten().tolist() == [10, 20, -300, -400]


def test_map_scan_is_the_sum_of_the_scans_along_its_routes():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 2, 3, 4, generator=g)
    routes = torch.tensor([[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]])
    weights = [torch.randn(2, 4, 4, generator=g), torch.randn(2, 4, 2, generator=g), torch.randn(2, 4, generator=g)]
    A, D = -torch.rand(2, 4, 1, generator=g), torch.randn(2, 4, generator=g)
    found = reference.selective_scan_2d(x, routes, *weights, A, D)
    expected = torch.zeros(2, 6, 4, dtype=torch.float64)
    for k in range(2):
        u = x.flatten(1, 2).double()[:, routes[k]]
        low, B, C = (
            u @ weights[0][k, :2].double().T,
            u @ weights[0][k, 2:3].double().T,
            u @ weights[0][k, 3:].double().T,
        )
        delta = torch.log1p(torch.exp(low @ weights[1][k].double().T + weights[2][k].double()))
        expected[:, routes[k]] += reference.selective_scan(u, delta, A[k], B, C, D[k])
    torch.testing.assert_close(found.flatten(1, 2), expected, rtol=1e-12, atol=1e-12)
