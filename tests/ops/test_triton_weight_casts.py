"""Weights cast once for a whole forward pass: what branches get, when memory is new, what a model makes of it."""

import copy
import os
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from mmmamba.models.backbones.vmamba import VMamba
from mmmamba.ops import WeightCasts, use_backend

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)
SHAPES = [(3,), (64, 33), (1, 1), (16, 8), (7, 5, 3)]
CPU = torch.device('cpu')


def parameters() -> list[nn.Parameter]:
    torch.manual_seed(0)
    return [nn.Parameter(torch.randn(shape)) for shape in SHAPES]


def given(casts: WeightCasts, weights: list[nn.Parameter], dtype: torch.dtype = torch.float16) -> list[torch.Tensor]:
    from mmmamba.ops.residual.casts import in_dtype

    with casts.offered(weights, dtype, CPU):
        return list(in_dtype(dtype, *weights))


@pytest.fixture
def no_casts_of_branches(monkeypatch):
    monkeypatch.setattr(torch, '_foreach_copy_', lambda *_: pytest.fail('a branch cast its own weights'))


@pytest.mark.usefixtures('no_casts_of_branches')
def test_copies_are_the_weights_in_the_other_dtype():
    weights = parameters()
    for weight, found in zip(weights, given(WeightCasts(), weights), strict=True):
        assert torch.equal(found, weight.half())
        assert not found.requires_grad


@pytest.mark.usefixtures('no_casts_of_branches')
def test_what_changes_behind_pytorch_is_cast_again_into_the_same_memory():
    casts, weights = WeightCasts(), parameters()
    before = given(casts, weights)
    weights[1].data.copy_(torch.ones(64, 33))  # as hooks that swap weights for their averages do
    after = given(casts, weights)
    assert torch.equal(after[1], torch.ones(64, 33).half())
    assert [c.data_ptr() for c in after] == [c.data_ptr() for c in before]


@pytest.mark.usefixtures('no_casts_of_branches')
@pytest.mark.parametrize('change', ['step', 'gradient mode', 'dtype'])
def test_copies_of_an_earlier_pass_stay_as_they_were(change):
    casts, weights = WeightCasts(), parameters()
    held = given(casts, weights)
    expected = [c.clone() for c in held]
    with torch.no_grad():
        for weight in weights if change == 'step' else ():
            weight.add_(1)
    weights[0].data.add_(1)
    with torch.set_grad_enabled(change != 'gradient mode'):
        found = given(casts, weights, torch.float64 if change == 'dtype' else torch.float16)
    assert torch.equal(found[0], weights[0].to(found[0].dtype))
    assert all(torch.equal(a, b) for a, b in zip(held, expected, strict=True))


@pytest.mark.usefixtures('no_casts_of_branches')
def test_weights_that_moved_are_read_where_they_lie():
    casts, weights = WeightCasts(), parameters()
    given(casts, weights)
    weights[2].data = torch.full((1, 1), 5.0)
    assert given(casts, weights)[2] == 5


def test_others_are_cast_on_their_own():
    from mmmamba.ops.residual.casts import in_dtype

    casts, weights = WeightCasts(), [nn.Parameter(torch.ones(3, dtype=torch.float64)), torch.ones(2)]
    assert [c.dtype for c in given(casts, weights)] == [torch.float16] * 2
    with casts.offered(parameters(), torch.float16, CPU):
        pass
    weight = parameters()[0]
    assert torch.equal(in_dtype(torch.float16, weight)[0], weight.half())  # outside of the block


def test_there_may_be_nothing_to_cast():
    assert given(WeightCasts(), [nn.Parameter(torch.empty(0, 3))])[0].shape == (0, 3)
    with WeightCasts().offered([], torch.float16, CPU):
        pass


def test_a_copy_of_a_model_has_its_own():
    casts, weights = WeightCasts(), parameters()
    held = given(casts, weights)
    other = given(copy.deepcopy(casts), weights)
    assert [c.data_ptr() for c in other] != [c.data_ptr() for c in held]


@pytest.fixture
def autocast_on_cuda(monkeypatch):
    """What the branches ask for; the modules themselves run under no autocast, as the interpreter is on the CPU."""
    monkeypatch.setattr(torch, 'is_autocast_enabled', lambda device: device == 'cuda')
    monkeypatch.setattr(torch, 'get_autocast_dtype', lambda _: torch.float16)
    monkeypatch.setattr(torch, 'set_autocast_enabled', lambda *_: None)


@pytest.mark.usefixtures('autocast_on_cuda')
def test_a_backbone_gives_what_it_gives_with_weights_cast_branch_by_branch(monkeypatch):
    torch.manual_seed(0)
    model = VMamba(dict(embed_dims=[8, 12], depths=[1, 1], dt_rank=2, drop_path_rate=0.0), out_indices=(0, 1))
    other = copy.deepcopy(model)
    monkeypatch.setattr(other._weight_casts, 'offered', lambda *_: nullcontext())
    x = torch.randn(1, 3, 16, 16)

    def run(backbone: VMamba) -> list[torch.Tensor]:
        with use_backend('triton'):
            with torch.inference_mode():  # before training: nothing of it may be left over for that
                maps = [out.clone() for out in backbone(x)]
            sum(out.square().sum() for out in backbone(x)).backward()
        return [*maps, *(parameter.grad for parameter in backbone.parameters())]

    expected = run(other)
    with monkeypatch.context() as patch:
        patch.setattr(torch, '_foreach_copy_', lambda *_: pytest.fail('a branch cast its own weights'))
        found = run(model)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
