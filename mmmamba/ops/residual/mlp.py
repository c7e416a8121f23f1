"""A residual MLP as one autograd node: ``x + keep * MLP(LayerNorm(x))``."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import needs_grad
from ..layer_norm.triton_backward import layer_norm_backward
from ..layer_norm.triton_forward import layer_norm_forward
from ..shares import add_shares
from .autocast import without_autocast
from .casts import in_dtype, in_dtypes_of
from .products import product_over_rows
from .triton_kernels import add_branch, branch_gradient, gelu_backward


def residual_mlp(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    keep: Tensor | None,
    *,
    eps: float,
    dtype: torch.dtype,
) -> Tensor:
    """``x + keep * (weight2 gelu(weight1 LayerNorm(x) + bias1) + bias2)``, GELU in its erf form.

    Saves ``x`` and the input of the activation for the backward pass and computes the rest again. No double backward.

    Args:
        x: (B, H, W, C) on CUDA, fp32, fp16 or bf16.
        norm_weight: (C,).
        norm_bias: (C,).
        weight1: (hidden, C).
        bias1: (hidden,).
        weight2: (C, hidden).
        bias2: (C,).
        keep: (B,) fp32, a factor of each image's branch, or None for 1.
        eps: added to the variance in the norm.
        dtype: of the matrix products.

    Returns:
        The shape and dtype of ``x``.
    """
    inputs = (x.contiguous(), norm_weight, norm_bias, weight1, bias1, weight2, bias2, keep)
    if needs_grad(*inputs):
        return _ResidualMlp.apply(*inputs, eps, dtype)
    return _forward(*inputs, eps, dtype, save=False)[0]


@without_autocast
def _forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    keep: Tensor | None,
    eps: float,
    dtype: torch.dtype,
    *,
    save: bool,
) -> tuple[Tensor | None, ...]:
    """The result, and what the backward pass reads: statistics, hidden rows before the activation, cast weights."""
    weight1, bias1, weight2, bias2 = in_dtype(dtype, weight1, bias1, weight2, bias2)
    normed, statistics = layer_norm_forward(x, norm_weight, norm_bias, eps, dtype, save)
    hidden = F.linear(normed.flatten(0, -2), weight1, bias1)
    y = F.linear(F.gelu(hidden), weight2, bias2)
    return add_branch(x, y, keep), statistics, hidden, weight1, weight2


class _ResidualMlp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        out, *saved = _forward(*inputs, save=True)
        x, norm_weight, norm_bias, *parameters, keep, _, ctx.dtype = inputs
        ctx.save_for_backward(x, norm_weight, norm_bias, keep, *saved)
        ctx.dtypes = [p.dtype for p in (norm_weight, norm_bias, *parameters)]
        return out

    @staticmethod
    @without_autocast
    def backward(ctx, dout):
        x, norm_weight, norm_bias, keep, statistics, hidden, weight1, weight2 = ctx.saved_tensors
        dout = dout.contiguous()
        dy, shares2 = branch_gradient(dout, keep, ctx.dtype, bias=True)
        activated, dhidden, shares1 = gelu_backward(hidden, torch.mm(dy, weight2))
        dweight2 = product_over_rows(dy, activated)
        del activated
        dnormed = torch.mm(dhidden, weight1)
        normed = torch.empty_like(dnormed)
        dx, norm_shares = layer_norm_backward(
            dnormed, x, norm_weight, statistics, bias=norm_bias, residual=dout, y=normed
        )
        dweight1 = product_over_rows(dhidden, normed)
        hidden_dims, channels = weight1.shape
        sums = add_shares(norm_shares, shares1, shares2, None, [channels, channels, hidden_dims, channels])
        dnorm_weight, dnorm_bias, dbias1, dbias2 = sums
        gradients = (dnorm_weight, dnorm_bias, dweight1, dbias1, dweight2, dbias2)
        return dx, *in_dtypes_of(ctx.dtypes, gradients), None, None, None
