"""The 1-D Mamba mixer against the equations, and its directions against each other."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from mmmamba.layers import MambaMixer
from mmmamba.ops import reference

TWO_WAYS = ('forward', 'backward')


def build(seed=0, **options):
    torch.manual_seed(seed)
    mixer = MambaMixer(12, **dict(d_state=4, dt_rank=3) | options).double()
    for parameter in mixer.parameters():  # the state shows in the output
        nn.init.normal_(parameter, std=0.5)
    return mixer


def tokens(length=9, seed=1):
    torch.manual_seed(seed)
    return torch.randn(2, length, 12, dtype=torch.float64)


def by_the_equations(mixer, x):
    x, z = F.linear(x, mixer.in_proj.weight, mixer.in_proj.bias).chunk(2, dim=-1)
    branch = mixer.branches[0]
    x = reference.causal_conv1d(x, branch.conv.weight[:, 0], branch.conv.bias, silu=True)
    rank, d_state = branch.dt_proj_weight.shape[1], branch.A_log.shape[1]
    dt, B, C = (x @ branch.x_proj_weight.T).split([rank, d_state, d_state], dim=-1)
    delta = F.softplus(dt @ branch.dt_proj_weight.T + branch.dt_proj_bias)
    y = reference.selective_scan(x, delta, -branch.A_log.exp(), B, C, branch.D, z)
    return F.linear(y, mixer.out_proj.weight, mixer.out_proj.bias)


@pytest.mark.parametrize('length', [1, 3, 17])
@pytest.mark.parametrize(
    'options',
    [{}, dict(conv_bias=False), dict(bias=True), dict(expand=1, d_conv=3), dict(d_state=1, dt_rank='auto')],
    ids=str,
)
def test_one_direction_follows_the_equations(options, length):
    mixer, x = build(**options), tokens(length)
    torch.testing.assert_close(mixer(x), by_the_equations(mixer, x), rtol=1e-10, atol=1e-10)


def test_backward_is_forward_on_the_reversed_sequence():
    forward, backward, x = build(), build(directions=('backward',)), tokens()
    expected = forward(x.flip(1)).flip(1)
    torch.testing.assert_close(backward(x), expected)
    torch.testing.assert_close(forward(x, reverse=True), expected)
    torch.testing.assert_close(backward(x, reverse=True), forward(x))


@pytest.mark.parametrize('average', [False, True])
def test_two_directions_are_summed_or_averaged_before_the_projection(average):
    both, x = build(directions=TWO_WAYS, average=average), tokens()
    total = 0
    for i, direction in enumerate(TWO_WAYS):
        one = build(directions=(direction,))
        for shared in ('in_proj', 'out_proj'):
            getattr(one, shared).load_state_dict(getattr(both, shared).state_dict())
        one.branches[0].load_state_dict(both.branches[i].state_dict())
        total = total + one(x)
    torch.testing.assert_close(both(x), total / 2 if average else total)


def test_the_causal_direction_does_not_look_ahead():
    mixer, x = build(), tokens()
    changed = torch.cat([x[:, :5], torch.randn_like(x[:, 5:])], dim=1)
    torch.testing.assert_close(mixer(changed)[:, :5], mixer(x)[:, :5])
    assert not torch.allclose(mixer(changed)[:, 5:], mixer(x)[:, 5:])


def test_gradients_match_the_equations():
    mixer, x = build(), tokens().requires_grad_()
    weights = [x, *mixer.parameters()]
    found = torch.autograd.grad(mixer(x).square().sum(), weights)
    expected = torch.autograd.grad(by_the_equations(mixer, x).square().sum(), weights)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def test_the_state_space_starts_as_mamba_starts_it():
    branch = MambaMixer(32, d_state=16).branches[0]
    assert branch.dt_proj_weight.shape == (64, 2)
    torch.testing.assert_close(branch.A_log.exp(), torch.arange(1.0, 17).expand(64, 16))
    assert torch.equal(branch.D, torch.ones(64))
    steps = F.softplus(branch.dt_proj_bias)
    assert steps.min() > 9e-4
    assert steps.max() < 0.11


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_autocast_gives_finite_output_and_gradients(dtype):
    mixer = MambaMixer(16, directions=TWO_WAYS, average=True)
    with torch.autocast('cpu', dtype):
        y = mixer(torch.randn(2, 7, 16))
    y.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize('directions', [(), ('forward', 'sideways'), 'v2'], ids=str)
def test_unknown_directions_are_named(directions):
    with pytest.raises(ValueError, match=r"directions .* must name at least one, of \('forward', 'backward'\)"):
        MambaMixer(8, directions=directions)
