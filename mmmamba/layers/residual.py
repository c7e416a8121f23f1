"""Residual branches, ``x + drop_path(branch(norm(x)))``: as one fused op where their modules allow, else one by one.

Eager PyTorch spends more time on starting the twenty small ops of a branch than a GPU on running them; fused, a branch
is a single node of autograd that also saves less. Under ``torch.compile`` the modules run, for the compiler to fuse.
"""

from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers.mlp import Mlp
from mmmamba.layers.norm import LayerNorm
from mmmamba.layers.plain import are_plain
from mmmamba.layers.ss2d import SS2D
from mmmamba.ops import residual_mlp, residual_ss2d, serves_fused
from mmmamba.scans import Scan


def add_mlp(x: Tensor, norm: LayerNorm, mlp: Mlp, drop_path: StochasticDepth) -> Tensor:
    """``x + drop_path(mlp(norm(x)))`` for (B, H, W, C)."""
    fc1, fc2 = mlp.fc1, mlp.fc2
    modules = (norm, mlp, fc1, mlp.act, fc2, drop_path)
    types = (LayerNorm, Mlp, nn.Linear, nn.GELU, nn.Linear, StochasticDepth)
    if not (serves_fused(x) and are_plain(modules, types)):
        return x + drop_path(mlp(norm(x)))
    parameters = (norm.weight, norm.bias, fc1.weight, fc1.bias, fc2.weight, fc2.bias)
    return residual_mlp(x, *parameters, _keep(x, drop_path), eps=norm.eps, dtype=_inner_dtype(x))


def add_ss2d(x: Tensor, norm: LayerNorm, mixer: SS2D, drop_path: StochasticDepth) -> Tensor:
    """``x + drop_path(mixer(norm(x)))`` for (B, H, W, C)."""
    in_proj, conv, out_norm, out_proj = mixer.in_proj, mixer.conv, mixer.out_norm, mixer.out_proj
    modules = (norm, mixer, in_proj, conv, out_norm, out_proj, drop_path)
    types = (LayerNorm, SS2D, nn.Linear, nn.Conv2d, LayerNorm, nn.Linear, StochasticDepth)
    if not (serves_fused(x) and are_plain(modules, types) and _is_bare(mixer)):
        return x + drop_path(mixer(norm(x)))
    return residual_ss2d(
        *(x, norm.weight, norm.bias, in_proj.weight, conv.weight, conv.bias),
        *(mixer.x_proj_weight, mixer.dt_proj_weight, mixer.dt_proj_bias, mixer.A_log, mixer.D),
        *(out_norm.weight, out_norm.bias, out_proj.weight, _keep(x, drop_path)),
        mixer.scan.tables(*x.shape[1:3], device=x.device, redraw=mixer.training),
        eps=norm.eps,
        out_eps=out_norm.eps,
        dtype=_inner_dtype(x),
    )


def _is_bare(mixer: SS2D) -> bool:
    """Whether the mixer has nothing that the fused op does not know."""
    if not (isinstance(mixer.scan, Scan) and mixer.scan.merge == 'sum'):
        return False  # other scans own their parameters
    biases = (mixer.in_proj.bias, mixer.out_proj.bias)
    dropout = mixer.training and mixer.state_dropout > 0
    small_conv = mixer.conv.kernel_size == (3, 3)
    return small_conv and not (mixer.gate or dropout) and all(bias is None for bias in biases)


def _keep(x: Tensor, drop_path: StochasticDepth) -> Tensor | None:
    """The factor of each image's branch, (B,) fp32: 0 or ``1 / (1 - p)``; None if all are 1."""
    if not drop_path.training or drop_path.p == 0:
        return None
    return F.dropout(_ones(x.shape[0], x.device), drop_path.p)  # one launch


@lru_cache(64)
def _ones(size: int, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # an inference tensor could not serve training
        return torch.ones(size, device=device)


def _inner_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype('cuda') if torch.is_autocast_enabled('cuda') else x.dtype
