"""Backward causal depthwise convolution in Triton: the programs of the forward pass, a share of the sequence each.

What the activation saw is convolved again, for its own steps and those that a step reaches. Each program writes its
share of the sums for weight and bias and the launcher adds them: no atomics, the same result on every run.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import launch
from ..sizes import cdiv, next_power_of_2
from .triton_forward import BLOCK_D, BLOCK_L, convolve, load_steps

# Tiles that a program takes: its sums are written once for 256 steps.
_TILES = 8


@triton.jit
def causal_conv1d_backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    bias_ptr,
    dx_ptr,
    dweight_ptr,
    dbias_ptr,
    L,
    D,
    stride_b,
    stride_l,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILES: tl.constexpr,
):
    b = tl.program_id(2).to(tl.int64)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    w = tl.arange(0, BLOCK_W)
    x_ptr += b * stride_b
    dy_ptr += b * L * D
    dweight = tl.zeros((BLOCK_W, BLOCK_D), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for i in range(TILES):
        step = (tl.program_id(0).to(tl.int64) * TILES + i) * BLOCK_L + tl.arange(0, BLOCK_L)
        dx = tl.zeros((BLOCK_L, BLOCK_D), tl.float32)
        for k in tl.static_range(WIDTH):
            later = step - (WIDTH - 1 - k) if REVERSE else step + (WIDTH - 1 - k)  # where weight k meets this step
            grad = load_steps(dy_ptr, later, d, L, D, D)
            if SILU:
                y = convolve(x_ptr, weight_ptr, bias_ptr, later, d, L, stride_l, D, WIDTH, REVERSE)
                sigmoid = tl.sigmoid(y)
                grad *= sigmoid * (1.0 + y * (1.0 - sigmoid))
            weight = tl.load(weight_ptr + d * WIDTH + k, mask=d < D, other=0.0).to(tl.float32)
            dx += weight[None, :] * grad
            x = load_steps(x_ptr, step, d, L, stride_l, D)
            dweight += tl.where(w[:, None] == k, tl.sum(grad * x, 0)[None, :], 0.0)
            if k == WIDTH - 1:
                dbias += tl.sum(grad, 0)
        inside = (step < L)[:, None] & (d < D)[None, :]
        tl.store(dx_ptr + (b * L + step)[:, None] * D + d[None, :], dx.to(dx_ptr.dtype.element_ty), mask=inside)
    share = (b * tl.num_programs(0) + tl.program_id(0)) * D + d
    in_weight = (d < D)[None, :] & (w < WIDTH)[:, None]
    tl.store(dweight_ptr + share[None, :] * WIDTH + w[:, None], dweight, mask=in_weight)
    tl.store(dbias_ptr + share, dbias, mask=d < D)


def causal_conv1d_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x``, in its dtype, and of weight and bias, fp32."""
    batch, length, channels = x.shape
    x = x if x.stride(2) == 1 else x.contiguous()
    dx = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (cdiv(length, BLOCK_L * _TILES), cdiv(channels, BLOCK_D), batch)
    dweight = x.new_empty((batch * grid[0], *weight.shape), dtype=torch.float32)
    dbias = x.new_empty((batch * grid[0], channels), dtype=torch.float32)
    width = weight.shape[1]
    launch(
        causal_conv1d_backward_kernel,
        grid,
        dy.contiguous(),
        x,
        weight.contiguous(),
        bias,
        dx,
        dweight,
        dbias,
        length,
        channels,
        x.stride(0),
        x.stride(1),
        WIDTH=width,
        SILU=silu,
        REVERSE=reverse,
        BLOCK_W=next_power_of_2(width),
        BLOCK_L=BLOCK_L,
        BLOCK_D=BLOCK_D,
        TILES=_TILES,
    )
    return dx, dweight.sum(0), dbias.sum(0)
