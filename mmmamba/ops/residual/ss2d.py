"""A residual SS2D as one autograd node: ``x + keep * SS2D(LayerNorm(x))``."""

import torch
from torch import Tensor
from torch.nn import functional as F

from ..backend import needs_grad
from ..depthwise_conv.triton_backward import depthwise_backward
from ..depthwise_conv.triton_forward import depthwise_forward
from ..layer_norm.triton_backward import layer_norm_backward
from ..layer_norm.triton_forward import layer_norm_forward, merge_and_norm
from ..selective_scan import triton_path
from ..selective_scan.triton_backward import by_channel
from ..selective_scan_2d.triton_op import scan_inputs
from ..shares import add_shares
from .autocast import without_autocast
from .casts import in_dtype, in_dtypes_of
from .products import product_over_rows
from .triton_kernels import add_branch, branch_gradient, merge_silu_backward


def residual_ss2d(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    out_norm_weight: Tensor,
    out_norm_bias: Tensor,
    out_weight: Tensor,
    keep: Tensor | None,
    routes: Tensor,
    *,
    eps: float,
    out_eps: float,
    dtype: torch.dtype,
) -> Tensor:
    """``x + keep * out_weight LayerNorm(scan(silu(conv(in_weight LayerNorm(x)))))``, the scan along K routes, summed.

    Saves the inputs of norms and convolution and the scan's states for the backward pass, and computes the rest again.
    No double backward.

    Args:
        x: (B, H, W, C) on CUDA, fp32, fp16 or bf16.
        norm_weight: (C,).
        norm_bias: (C,).
        in_weight: (E, C).
        conv_weight: (E, 1, 3, 3), depthwise.
        conv_bias: (E,) or None.
        x_proj_weight: (K, R + 2N, E); this and the next four as in :func:`mmmamba.ops.selective_scan_2d`.
        dt_proj_weight: (K, E, R).
        dt_proj_bias: (K, E).
        A_log: (K, E, N), A is ``-exp`` of it.
        D: (K, E).
        out_norm_weight: (E,).
        out_norm_bias: (E,).
        out_weight: (C, E).
        keep: (B,) fp32, a factor of each image's branch, or None for 1.
        routes: (K, T) int64.
        eps: added to the variance in the first norm.
        out_eps: and in the second.
        dtype: of maps and matrix products inside; states and sums are fp32.

    Returns:
        The shape and dtype of ``x``.
    """
    tensors = (x.contiguous(), norm_weight, norm_bias, in_weight, conv_weight, conv_bias, x_proj_weight, dt_proj_weight)
    tensors += (dt_proj_bias, A_log, D, out_norm_weight, out_norm_bias, out_weight, keep, routes)
    if needs_grad(*tensors):
        return _ResidualSS2D.apply(*tensors, eps, out_eps, dtype)
    return _forward(*tensors, eps, out_eps, dtype, save=False)[0]


@without_autocast
def _forward(
    x: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
    in_weight: Tensor,
    conv_weight: Tensor,
    conv_bias: Tensor | None,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A_log: Tensor,
    D: Tensor,
    out_norm_weight: Tensor,
    out_norm_bias: Tensor,
    out_weight: Tensor,
    keep: Tensor | None,
    routes: Tensor,
    eps: float,
    out_eps: float,
    dtype: torch.dtype,
    *,
    save: bool,
) -> tuple[Tensor, ...]:
    """The result, and with ``save`` what the backward pass reads."""
    in_weight, x_proj_weight, out_weight = in_dtype(dtype, in_weight, x_proj_weight, out_weight)
    normed, statistics = layer_norm_forward(x, norm_weight, norm_bias, eps, dtype, save)
    u = F.linear(normed, in_weight)
    tokens = depthwise_forward(u, conv_weight, conv_bias, silu=True)[0].flatten(1, 2)
    projected = _project(tokens, x_proj_weight)
    inputs = scan_inputs(tokens, projected, routes, dt_proj_weight, dt_proj_bias, A_log, D)
    parts, states = triton_path.forward(*inputs, A_is_log=True, save_states=save)
    y, out_statistics, merged = merge_and_norm(parts, out_norm_weight, out_norm_bias, out_eps, dtype, save)
    out = add_branch(x, F.linear(y, out_weight), keep)
    if not save:
        return (out,)
    return out, statistics, u, projected, states, merged, out_statistics, in_weight, x_proj_weight, out_weight


class _ResidualSS2D(torch.autograd.Function):
    @staticmethod
    def forward(ctx, *inputs):
        tensors, ctx.dtype = inputs[:16], inputs[-1]
        out, *saved = _forward(*inputs, save=True)
        (
            x,
            norm_weight,
            norm_bias,
            _,
            conv_weight,
            conv_bias,
            _,
            *scan,
            out_norm_weight,
            out_norm_bias,
            _,
            keep,
            routes,
        ) = tensors
        norms = (norm_weight, norm_bias, out_norm_weight, out_norm_bias)
        ctx.save_for_backward(x, *norms, conv_weight, conv_bias, *scan, keep, routes, *saved)
        ctx.dtypes = [None if p is None else p.dtype for p in tensors[1:14]]
        return out

    @staticmethod
    @without_autocast
    def backward(ctx, dout):
        x, norm_weight, norm_bias, out_norm_weight, out_norm_bias, *rest = ctx.saved_tensors
        conv_weight, conv_bias, dt_weight, dt_bias, A_log, D, keep, routes, *rest = rest
        statistics, u, projected, states, merged, out_statistics, in_weight, x_proj_weight, out_weight = rest
        dout = dout.contiguous()

        dy, _ = branch_gradient(dout, keep, ctx.dtype, bias=False)
        dnormed = torch.mm(dy, out_weight)
        normed = torch.empty_like(dnormed)
        dmerged, out_norm_shares = layer_norm_backward(
            dnormed, merged, out_norm_weight, out_statistics, bias=out_norm_bias, y=normed
        )
        dout_weight = product_over_rows(dy, normed)

        tokens, c = depthwise_forward(u, conv_weight, conv_bias, silu=True, keep_input_of_silu=True)
        tokens = tokens.flatten(1, 2)
        inputs = scan_inputs(tokens, projected, routes, dt_weight, dt_bias, A_log, D)
        dtokens, _, dprojected, scan_shares = triton_path.backward(dmerged, states, *inputs, A_is_log=True)
        dprojected = dprojected.view(dy.shape[0], -1)
        dx_proj_weight = product_over_rows(dprojected, tokens.flatten(0, 1)).view_as(x_proj_weight)
        dc = merge_silu_backward(dtokens, torch.mm(dprojected, x_proj_weight.flatten(0, 1)), c)

        du, conv_shares = depthwise_backward(dc, u, conv_weight, conv_bias is not None)
        du = du.flatten(0, 2)
        dnormed = torch.mm(du, in_weight)
        normed = torch.empty_like(dnormed)
        dx, norm_shares = layer_norm_backward(
            dnormed, x, norm_weight, statistics, bias=norm_bias, residual=dout, y=normed
        )
        din_weight = product_over_rows(du, normed)

        conv = (conv_weight,) if conv_bias is None else (conv_weight, conv_bias)
        like = (norm_weight, norm_bias, *conv, A_log, dt_weight, dt_bias, D, out_norm_weight, out_norm_bias)
        sizes = [parameter.numel() for parameter in like]
        sums = add_shares(norm_shares, conv_shares, scan_shares, out_norm_shares, sizes)
        dnorm_weight, dnorm_bias, dconv_weight, *dconv_bias, dA_log, ddt_weight, ddt_bias, dD, dscale, doffset = sums
        gradients = (
            *(dnorm_weight, dnorm_bias, din_weight),
            *(dconv_weight.view_as(conv_weight), *(dconv_bias or [None])),
            *(dx_proj_weight, ddt_weight.view_as(dt_weight), ddt_bias.view_as(dt_bias)),
            *(by_channel(dA_log, A_log), dD.view_as(D), dscale, doffset, dout_weight),
        )
        return dx, *in_dtypes_of(ctx.dtypes, gradients), None, None, None, None, None


def _project(tokens: Tensor, x_proj_weight: Tensor) -> Tensor:
    """(B, L, E) to (B, L, K, R + 2N)."""
    return F.linear(tokens, x_proj_weight.flatten(0, 1)).unflatten(2, x_proj_weight.shape[:2])
