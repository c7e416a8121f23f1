"""LayerNorm on Triton against PyTorch in fp64, values and every gradient."""

import copy
import os

import pytest
import torch
from scan_cases import assert_close, values_and_gradients
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.downsample import ConvDownsample
from mmmamba.layers.patch_embed import ConvStem, PatchEmbed
from mmmamba.ops import layer_norm, use_backend

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)


def reference(
    x: Tensor, weight: Tensor | None = None, bias: Tensor | None = None, shift: Tensor | None = None
) -> Tensor:
    parameters = (p if p is None else p.double() for p in (weight, bias))
    return F.layer_norm(x.double() if shift is None else x.double() + shift.double(), x.shape[-1:], *parameters)


def inputs(*shape: int, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(0)
    x = 3 + torch.randn(*shape, generator=g)
    return dict(x=x.to(dtype), weight=torch.randn(shape[-1], generator=g), bias=torch.randn(shape[-1], generator=g))


def check(tensors: dict[str, Tensor], dtype: torch.dtype, judged_as: torch.dtype) -> None:
    dy = torch.randn(tensors['x'].shape, generator=torch.Generator().manual_seed(1))
    found = values_and_gradients(lambda **t: layer_norm(**t, dtype=dtype, backend='triton'), tensors, dy)
    assert found['output'].dtype == dtype
    assert_close(found, values_and_gradients(reference, tensors, dy), judged_as)


@pytest.mark.parametrize('shape', [(1, 3), (5, 7), (2, 3, 4, 96), (700, 33), (3, 1500)], ids=str)
def test_matches_fp64(shape):
    check(inputs(*shape), torch.float32, torch.float32)


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize('from_fp32', [False, True])
def test_matches_fp64_in_half_precision(dtype, from_fp32):
    check(inputs(6, 24, dtype=torch.float32 if from_fp32 else dtype), dtype, dtype)


@pytest.mark.parametrize('names', [('x',), ('x', 'weight')], ids=['no parameter', 'no bias'])
def test_parameters_are_optional(names):
    check({name: inputs(6, 24)[name] for name in names}, torch.float32, torch.float32)


@pytest.mark.parametrize('shape', [(5, 7), (700, 33)], ids=str)
@pytest.mark.parametrize('names', [('x',), ('x', 'weight', 'bias')], ids=['no parameter', 'both'])
def test_shift_is_added_first(shape, names):
    tensors = {name: inputs(*shape)[name] for name in names}
    check(tensors | dict(shift=2 * torch.randn(shape[-1])), torch.float32, torch.float32)


def test_shift_in_half_precision():
    check(inputs(6, 24, dtype=torch.float16) | dict(shift=torch.randn(24)), torch.float16, torch.float16)


@pytest.mark.parametrize(
    'module', [ConvStem(3, 12), PatchEmbed(3, 12, 2), ConvDownsample(3, 12)], ids=lambda module: type(module).__name__
)
@pytest.mark.parametrize('hooked', [False, True])
def test_norm_adds_the_bias_of_the_convolution_before_it(module, hooked, monkeypatch):
    biases, seen = [], []
    original = nn.Conv2d._conv_forward
    monkeypatch.setattr(nn.Conv2d, '_conv_forward', lambda *a: biases.append(a[3]) or original(*a))
    module = copy.deepcopy(module)
    if hooked:
        for conv in (m for m in module.modules() if isinstance(m, nn.Conv2d)):
            conv.register_forward_hook(lambda *_: seen.append(1))
    x = torch.randn(2, 3, 9, 7)
    if isinstance(module, ConvDownsample):
        x = x.movedim(1, -1)
    with use_backend('triton'):
        dy = torch.randn(module(x).shape)
        found = run(module, x, dy)
    assert bool(seen) == hooked
    assert all((bias is not None) == hooked for bias in biases)
    exact = copy.deepcopy(module).double()
    with use_backend('torch'):
        assert_close(found, run(exact, x.double(), dy.double()), torch.float32)


def run(module: nn.Module, x: Tensor, dy: Tensor) -> dict[str, Tensor]:
    module.zero_grad()
    leaf = x.clone().requires_grad_()
    y = module(leaf)
    y.backward(dy)
    return dict(output=y.detach(), x=leaf.grad) | {name: p.grad.clone() for name, p in module.named_parameters()}


def test_strided_input():
    tensors = inputs(2, 5, 7, 12)
    check(tensors | dict(x=tensors['x'].transpose(1, 2)), torch.float32, torch.float32)


def test_operator_passes_opcheck():
    from mmmamba.ops.layer_norm.interface import _layer_norm_op

    x, weight, bias = (t.requires_grad_() for t in inputs(5, 12).values())
    for shift in (None, torch.ones(12, requires_grad=True)):
        torch.library.opcheck(_layer_norm_op, (x, shift, weight, bias, 1e-5, torch.bfloat16))


def test_parameter_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r'expected weight of shape \(12,\), got \(11,\)'):
        layer_norm(torch.zeros(2, 12), torch.ones(11))
