"""The public residual branches, and where they can run."""

from typing import Any

import torch
from torch import Tensor

from ..backend import resolve_backend
from ..eager import is_traced


def serves_fused(x: Tensor) -> bool:
    """Whether the fused kernels around the scan serve this map: on the Triton backend, eagerly, not in fp64."""
    if x.dim() != 4 or x.numel() == 0 or x.dtype == torch.float64:
        return False
    return not is_traced((x,)) and resolve_backend('auto', x.device) == 'triton'


def residual_mlp(*inputs: Tensor | None, **options: Any) -> Tensor:
    """See :func:`mmmamba.ops.residual.mlp.residual_mlp`."""
    from . import mlp  # triton is optional, and a second to import

    return mlp.residual_mlp(*inputs, **options)


def residual_ss2d(*inputs: Tensor | None, **options: Any) -> Tensor:
    """See :func:`mmmamba.ops.residual.ss2d.residual_ss2d`."""
    from . import ss2d

    return ss2d.residual_ss2d(*inputs, **options)
