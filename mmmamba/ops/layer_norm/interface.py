"""The public LayerNorm over the last dimension, with the dtype of its result, and its registration with PyTorch."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import eager
from ..backend import resolve_backend


def layer_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    *,
    shift: Tensor | None = None,
    dtype: torch.dtype | None = None,
    backend: str = 'auto',
) -> Tensor:
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimension, computed in fp32 (fp64 for fp64 input).

    PyTorch under autocast writes the result in fp32 and casts it in the next layer; this writes what that layer reads.

    Args:
        x: (..., C), floating point.
        weight: (C,) or None.
        bias: (C,) or None.
        eps: added to the variance.
        shift: (C,) or None, added to ``x`` first: the bias of a convolution, which costs no pass of its own here.
        dtype: of the result; None is that of ``x``.
        backend: ``auto``, ``triton`` (fp64 input goes to ``torch``), ``torch``, or what else the scans know, which is
            ``torch`` here. Inside ``torch.compile``, ``auto`` is ``torch``: the compiler fuses it with its neighbours.

    Returns:
        The shape of ``x``.

    Raises:
        ValueError: if weight, bias or shift are not of the last dimension's size, or the backend does not serve the
            device.
    """
    for name, parameter in (('weight', weight), ('bias', bias), ('shift', shift)):
        if parameter is not None and parameter.shape != x.shape[-1:]:
            raise ValueError(
                f'layer_norm: expected {name} of shape {tuple(x.shape[-1:])}, got {tuple(parameter.shape)}'
            )
    dtype = dtype or x.dtype
    compiles = backend == 'auto' and torch.compiler.is_compiling()
    if compiles or resolve_backend(backend, x.device) != 'triton' or x.dtype == torch.float64 or x.numel() == 0:
        wide = torch.promote_types(x.dtype, torch.float32)
        shift, weight, bias = (p if p is None else p.to(wide) for p in (shift, weight, bias))
        shifted = x.to(wide) if shift is None else x.to(wide) + shift
        return F.layer_norm(shifted, x.shape[-1:], weight, bias, eps).to(dtype)
    return eager.call(_layer_norm_op, _LayerNorm, x, shift, weight, bias, eps, dtype)[0]


def _forward(
    x: Tensor, shift: Tensor | None, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    from . import triton_forward  # triton is optional, and a second to import

    return triton_forward.layer_norm_forward(x.contiguous(), weight, bias, eps, dtype, save=True, shift=shift)


_layer_norm_op = torch.library.custom_op('mmmamba::layer_norm_triton', _forward, mutates_args=())


@_layer_norm_op.register_fake
def _(x, shift, weight, bias, eps, dtype):
    y = torch.empty_like(x, dtype=dtype, memory_format=torch.contiguous_format)
    return y, x.new_empty((2, x.numel() // x.shape[-1]), dtype=torch.float32)


def _backward(
    dy: Tensor, x: Tensor, shift: Tensor | None, weight: Tensor | None, statistics: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of x, and of weight, bias and shift in one tensor, (2, C) without shift, else (3, C)."""
    from . import triton_backward

    dy, x = dy.contiguous(), x.contiguous()
    dx, shares = triton_backward.layer_norm_backward(dy, x, weight, statistics, shift=shift)
    return dx, shares.sum(0)


_layer_norm_backward_op = torch.library.custom_op('mmmamba::layer_norm_triton_backward', _backward, mutates_args=())


@_layer_norm_backward_op.register_fake
def _(dy, x, shift, weight, statistics):
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, x.new_empty(2 if shift is None else 3, x.shape[-1], dtype=torch.float32)


def _save_for_backward(ctx, inputs, output):
    x, shift, weight, bias, _, _ = inputs
    ctx.save_for_backward(x, shift, weight, output[1])
    ctx.mark_non_differentiable(output[1])
    ctx.dtypes = [p if p is None else p.dtype for p in (weight, bias, shift)]


def _gradients(ctx, dy, _, run=_layer_norm_backward_op):
    dx, dparameters = run(dy, *ctx.saved_tensors)
    padded = (*dparameters, None)[:3]  # there may be no shift
    dweight, dbias, dshift = (None if d is None else p.to(d) for p, d in zip(padded, ctx.dtypes, strict=True))
    return dx, dshift, dweight, dbias, None, None


_layer_norm_op.register_autograd(_gradients, setup_context=_save_for_backward)
_LayerNorm = eager.function_of(_forward, _save_for_backward, partial(_gradients, run=_backward))
