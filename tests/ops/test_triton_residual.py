"""Fused residual branches on Triton against their modules, one by one, in fp64: the result and every gradient."""

import copy
import os

import pytest
import torch
from scan_cases import assert_close
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import SS2D, LayerNorm, Mlp, add_mlp, add_ss2d
from mmmamba.layers import residual as residual_layer
from mmmamba.ops import use_backend

pytestmark = pytest.mark.skipif(
    os.environ.get('TRITON_INTERPRET') != '1', reason='run by test_triton_interpreter.py in a process of its own'
)


def branch(kind: str, channels: int, rate: float = 0.0, **options) -> nn.ModuleList:
    torch.manual_seed(0)
    inner = Mlp(channels, 2 * channels + 3) if kind == 'mlp' else SS2D(channels, **options)
    modules = nn.ModuleList([LayerNorm(channels, narrow=True), inner, StochasticDepth(rate, mode='row')])
    for parameter in modules.parameters():  # no gradient that an initial 0 or 1 would hide
        nn.init.normal_(parameter, std=0.3)
    return modules


def run(modules: nn.ModuleList, x: Tensor, dy: Tensor, autocast: torch.dtype | None = None) -> dict[str, Tensor]:
    add = add_mlp if isinstance(modules[1], Mlp) else add_ss2d
    leaf = x.detach().requires_grad_()
    with torch.autocast('cpu', autocast or torch.bfloat16, enabled=autocast is not None):
        y = add(leaf, *modules)
    y.backward(dy.to(y.dtype))
    found = {name: p.grad for name, p in modules.named_parameters()}
    return dict(output=y.detach(), input=leaf.grad) | found


def fused_and_expected(
    modules: nn.ModuleList, x: Tensor, monkeypatch, dtype: torch.dtype | None = None
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    dy = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if dtype is not None:  # the interpreter's autocast is that of the CPU
        monkeypatch.setattr(residual_layer, '_inner_dtype', lambda _: dtype)
    exact = copy.deepcopy(modules).double()
    with use_backend('triton'):
        calls = []
        for name in ('residual_mlp', 'residual_ss2d'):
            original = getattr(residual_layer, name)
            monkeypatch.setattr(residual_layer, name, lambda *a, f=original, **k: calls.append(1) or f(*a, **k))
        torch.manual_seed(2)
        found = run(modules, x, dy)
    assert calls, 'the branch ran module by module'
    with use_backend('torch'):
        torch.manual_seed(2)
        expected = run(exact, x.double(), dy)
    return found, expected


@pytest.mark.parametrize('shape', [(1, 1, 1, 8), (3, 2, 3, 33)], ids=str)
@pytest.mark.parametrize('rate', [0.0, 0.5])
def test_mlp_matches_fp64(shape, rate, monkeypatch):
    found, expected = fused_and_expected(branch('mlp', shape[-1], rate), torch.randn(*shape), monkeypatch)
    assert_close(found, expected, torch.float32)


@pytest.mark.parametrize(
    'options',
    [
        dict(ssm_ratio=1.0),
        dict(d_state=2, conv_bias=True),
        dict(scan='unidirectional'),
        dict(scan=['raster', 'hilbert.reverse', 'window:2']),
    ],
    ids=str,
)
def test_ss2d_matches_fp64(options, monkeypatch):
    found, expected = fused_and_expected(branch('ss2d', 12, 0.5, **options), torch.randn(2, 3, 2, 12), monkeypatch)
    assert_close(found, expected, torch.float32)


@pytest.mark.parametrize('d_state', [1, 2])
def test_routes_cut_into_segments(d_state, monkeypatch):
    from mmmamba.ops.selective_scan import triton_path
    from mmmamba.ops.selective_scan.triton_launch import SAVED_STEPS, Config

    config = Config(BLOCK_T=SAVED_STEPS, BLOCK_C=32, num_warps=1, images=1, segments=2)
    for name in ('_forward_config', '_backward_config'):
        monkeypatch.setattr(triton_path, name, lambda *_: config)
    modules = branch('ss2d', 4, ssm_ratio=1.0, d_state=d_state, scan=['raster', 'raster.transpose.reverse'])
    found, expected = fused_and_expected(modules, torch.randn(1, 5, 7, 4), monkeypatch)
    assert_close(found, expected, torch.float32)


@pytest.mark.parametrize('kind', ['mlp', 'ss2d'])
def test_half_precision_inside(kind, monkeypatch):
    """fp16 only: the interpreter cuts bits off where a GPU rounds to bf16, at twice the error; tests/gpu has bf16."""
    modules = branch(kind, 16)
    found, expected = fused_and_expected(modules, torch.randn(2, 4, 5, 16), monkeypatch, torch.float16)
    assert found['output'].dtype == torch.float32
    assert_close(found, expected, torch.float16)


def test_strided_map(monkeypatch):
    x = torch.randn(2, 12, 3, 2).permute(0, 2, 3, 1)
    found, expected = fused_and_expected(branch('ss2d', 12), x, monkeypatch)
    assert_close(found, expected, torch.float32)


@pytest.mark.parametrize(
    'change',
    [
        lambda m: m[1].out_proj.register_forward_hook(lambda *_: None),
        lambda m: setattr(m[1], 'out_norm', nn.Identity()),
        lambda m: setattr(m[1], 'in_proj', nn.Linear(12, 24)),
        lambda m: setattr(m[1], 'conv', nn.Conv2d(24, 24, 5, padding=2, groups=24, bias=False)),
        lambda m: m.__setitem__(1, SS2D(12, scan=dict(type='local', padded=True))),
    ],
    ids=['hook', 'other norm', 'bias', 'other convolution', 'scan with parameters of its own'],
)
def test_what_the_op_does_not_know_runs_module_by_module(change, monkeypatch):
    modules = branch('ss2d', 12)
    change(modules)
    monkeypatch.setattr(residual_layer, 'residual_ss2d', None)
    with use_backend('triton'), torch.no_grad():
        found = add_ss2d(torch.ones(1, 3, 2, 12), *modules)
    with use_backend('torch'), torch.no_grad():
        expected = add_ss2d(torch.ones(1, 3, 2, 12), *modules)
    torch.testing.assert_close(found, expected)


def test_without_gradients_nothing_is_saved():
    modules = branch('ss2d', 12)
    x = torch.randn(1, 3, 4, 12)
    with use_backend('triton'), torch.no_grad():
        assert add_ss2d(x, *modules).grad_fn is None
