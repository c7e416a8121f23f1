"""Residual branches, ``x + drop_path(branch(norm(x)))``: as one fused op where their modules allow, else one by one.

Eager PyTorch spends more time on starting the twenty small ops of a branch than a GPU on running them; fused, a branch
is a single node of autograd that also saves less. Under ``torch.compile`` the modules run, for the compiler to fuse.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers.mlp import Mlp
from mmmamba.layers.norm import LayerNorm
from mmmamba.layers.plain import are_plain, members_of, parameters_of
from mmmamba.layers.ss2d import SS2D
from mmmamba.ops import WeightCasts, residual_mlp, residual_ss2d, serves_fused
from mmmamba.scans import Scan


def add_mlp(x: Tensor, norm: LayerNorm, mlp: Mlp, drop_path: StochasticDepth) -> Tensor:
    """``x + drop_path(mlp(norm(x)))`` for (B, H, W, C)."""
    fc1, act, fc2 = members_of(mlp, 'fc1', 'act', 'fc2')
    modules = (norm, mlp, fc1, act, fc2, drop_path)
    types = (LayerNorm, Mlp, nn.Linear, nn.GELU, nn.Linear, StochasticDepth)
    if not (serves_fused(x) and are_plain(modules, types)):
        return x + drop_path(mlp(norm(x)))
    parameters = [parameter for layer in (norm, fc1, fc2) for parameter in parameters_of(layer, 'weight', 'bias')]
    return residual_mlp(x, *parameters, _keep(x, drop_path), eps=norm.eps, dtype=_inner_dtype(x))


def add_ss2d(x: Tensor, norm: LayerNorm, mixer: SS2D, drop_path: StochasticDepth) -> Tensor:
    """``x + drop_path(mixer(norm(x)))`` for (B, H, W, C)."""
    in_proj, conv, out_norm, out_proj = members_of(mixer, 'in_proj', 'conv', 'out_norm', 'out_proj')
    modules = (norm, mixer, in_proj, conv, out_norm, out_proj, drop_path)
    types = (LayerNorm, SS2D, nn.Linear, nn.Conv2d, LayerNorm, nn.Linear, StochasticDepth)
    if not (serves_fused(x) and are_plain(modules, types) and _is_bare(mixer, in_proj, conv, out_proj)):
        return x + drop_path(mixer(norm(x)))
    return residual_ss2d(
        *(x, *parameters_of(norm, 'weight', 'bias'), *parameters_of(in_proj, 'weight')),
        *parameters_of(conv, 'weight', 'bias'),
        *parameters_of(mixer, 'x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A_log', 'D'),
        *(*parameters_of(out_norm, 'weight', 'bias'), *parameters_of(out_proj, 'weight'), _keep(x, drop_path)),
        mixer.scan.tables(*x.shape[1:3], device=x.device, redraw=mixer.training),
        eps=norm.eps,
        out_eps=out_norm.eps,
        dtype=_inner_dtype(x),
    )


def weights_cast(x: Tensor, branches: Iterable[SS2D | Mlp], casts: WeightCasts) -> AbstractContextManager:
    """A context for the pass of ``x`` through these branches, in which those that are fused find their weights cast."""
    if not (serves_fused(x) and torch.is_autocast_enabled('cuda')):
        return nullcontext()
    weights = [weight for branch in branches for weight in _weights_of_products(branch)]
    return casts.offered(weights, torch.get_autocast_dtype('cuda'), x.device)


def _weights_of_products(branch: SS2D | Mlp) -> list[Tensor]:
    """What pixels are multiplied with, biases too; without what a parametrisation computes."""
    found = [branch._parameters.get('x_proj_weight')]
    for layer in members_of(branch, 'in_proj', 'out_proj', 'fc1', 'fc2'):
        if layer is not None:
            found += [layer._parameters.get('weight'), layer._parameters.get('bias')]
    return [weight for weight in found if weight is not None]


def _is_bare(mixer: SS2D, in_proj: nn.Linear, conv: nn.Conv2d, out_proj: nn.Linear) -> bool:
    """Whether the mixer has nothing that the fused op does not know."""
    if not (isinstance(mixer.__dict__.get('scan'), Scan) and mixer.scan.merge == 'sum'):
        return False  # other scans own their parameters
    if mixer.gate or conv.kernel_size != (3, 3) or (mixer.training and mixer.state_dropout > 0):
        return False
    biases = parameters_of(in_proj, 'bias') + parameters_of(out_proj, 'bias')
    return all(bias is None for bias in biases)


def _keep(x: Tensor, drop_path: StochasticDepth) -> Tensor | None:
    """The factor of each image's branch, (B,) fp32: 0 or ``1 / (1 - p)``; None if all are 1."""
    if not drop_path.training or drop_path.p == 0:
        return None
    return torch.dropout(_ones(x.shape[0], x.device), drop_path.p, train=True)  # one launch


@lru_cache(64)
def _ones(size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # an inference tensor could not serve training
        return torch.ones(size, device=device)


def _inner_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype('cuda') if torch.is_autocast_enabled('cuda') else x.dtype
