"""Weights cast once for a pass, under autocast on CUDA: the same bits as branch by branch, behind a graph as well."""

import copy
from contextlib import nullcontext

import pytest
import torch

from mmmamba.models.backbones.vmamba import VMamba


def pair() -> tuple[VMamba, VMamba]:
    """A backbone and one of the same parameters, whose branches cast their own weights."""
    torch.manual_seed(0)
    model = VMamba(dict(embed_dims=[32, 48], depths=[2, 1], drop_path_rate=0.0), out_indices=(0, 1)).cuda()
    other = copy.deepcopy(model)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        b.data = a.data
    other._weight_casts.offered = lambda *_: nullcontext()
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


def test_a_captured_graph_casts_into_memory_of_its_own():
    model, other = pair()
    x = torch.randn(2, 3, 64, 96, device='cuda')
    stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.no_grad():
        with torch.cuda.stream(stream):
            maps(model, x)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.cuda.graph(graph, stream=stream):
            static = maps(model, x)
        memory = model._weight_casts._memory
        memory.fill_(float('nan'))  # the eager pass's: freed by the next one, it could be anybody's
        for parameter in model.parameters():
            parameter.mul_(1.5)
        graph.replay()
        assert_same(static, maps(other, x))
        assert memory.isnan().all()
