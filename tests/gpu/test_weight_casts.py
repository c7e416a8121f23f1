"""Weights cast once for a pass, under autocast on CUDA: the same bits as branch by branch, behind a graph as well."""

import copy

import pytest
import torch

from mmmamba.models.backbones.vmamba import VMamba
from mmmamba.ops import WeightCasts


class NoCasts(WeightCasts):
    """Offers nothing: every branch casts its own weights."""

    def offered(self, weights, dtype, device):
        return super().offered([], dtype, device)


def pair() -> tuple[VMamba, VMamba]:
    """A backbone and one of the same parameters, whose branches cast their own weights."""
    torch.manual_seed(0)
    model = VMamba(dict(embed_dims=[32, 48], depths=[2, 1], drop_path_rate=0.0), out_indices=(0, 1)).cuda()
    other = copy.deepcopy(model)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        b.data = a.data
    other._weight_casts = NoCasts()
    return model, other


def maps(model: VMamba, x: torch.Tensor) -> list[torch.Tensor]:
    with torch.autocast('cuda', torch.bfloat16):
        return [out.clone() for out in model(x)]


def assert_same(found: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_a_pass_sees_the_weights_as_they_are(mode):
    model, other = pair()
    x = torch.randn(2, 3, 64, 96, device='cuda')
    with mode():
        assert_same(maps(model, x), maps(other, x))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1.5)
        assert_same(maps(model, x), maps(other, x))
        for parameter in model.parameters():  # as hooks that swap weights for their averages do
            parameter.data.copy_(parameter.data * 0.5)
        assert_same(maps(model, x), maps(other, x))


def test_gradients_are_those_of_casts_in_every_branch():
    model, other = pair()
    x = torch.randn(2, 3, 64, 96, device='cuda')
    found, expected = [], []
    for backbone, gradients in ((model, found), (other, expected)):
        first, second = maps(backbone, x), maps(backbone, x + 1)  # two passes before a backward pass
        sum(out.square().sum() for out in (*first, *second)).backward()
        gradients += [parameter.grad for parameter in backbone.parameters()]
    assert_same(found, expected)


def test_a_captured_graph_outlives_the_copies_of_eager_passes():
    model, other = pair()
    x = torch.randn(2, 3, 64, 96, device='cuda')
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad():
        with torch.cuda.stream(stream):
            maps(model, x)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            static = maps(model, x)
        for parameter in model.parameters():
            parameter.mul_(1.5)
        assert_same(maps(model, x), maps(other, x))
        torch.full((1 << 24,), float('nan'), device='cuda')  # where copies were, there is something else
        graph.replay()
        assert_same(static, maps(other, x))
