"""Causal depthwise convolution in Triton: a program makes a tile of steps by channels of one sequence."""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import launch
from ..sizes import cdiv

BLOCK_L = 32
BLOCK_D = 64


@triton.jit
def load_steps(x_ptr, step, d, L, stride_l, D):
    """Rows ``step`` of a sequence, zeros where there is no such step, in fp32."""
    inside = ((step >= 0) & (step < L))[:, None] & (d < D)[None, :]
    return tl.load(x_ptr + step[:, None] * stride_l + d[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def convolve(x_ptr, weight_ptr, bias_ptr, step, d, L, stride_l, D, WIDTH: tl.constexpr, REVERSE: tl.constexpr):
    """The convolution at steps ``step``, before any activation."""
    y = tl.zeros((step.shape[0], d.shape[0]), tl.float32)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    for k in tl.static_range(WIDTH):
        weight = tl.load(weight_ptr + d * WIDTH + k, mask=d < D, other=0.0).to(tl.float32)
        source = step + (WIDTH - 1 - k) if REVERSE else step - (WIDTH - 1 - k)
        y += weight[None, :] * load_steps(x_ptr, source, d, L, stride_l, D)
    return y


@triton.jit
def causal_conv1d_forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    L,
    D,
    stride_b,
    stride_l,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    b = tl.program_id(2).to(tl.int64)
    step = tl.program_id(0).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    y = convolve(x_ptr + b * stride_b, weight_ptr, bias_ptr, step, d, L, stride_l, D, WIDTH, REVERSE)
    if SILU:
        y *= tl.sigmoid(y)
    inside = (step < L)[:, None] & (d < D)[None, :]
    tl.store(y_ptr + (b * L + step)[:, None] * D + d[None, :], y.to(y_ptr.dtype.element_ty), mask=inside)


def causal_conv1d_forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool, reverse: bool) -> Tensor:
    """The convolution of (batch, L, D), contiguous."""
    batch, length, channels = x.shape
    x = x if x.stride(2) == 1 else x.contiguous()
    y = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    grid = (cdiv(length, BLOCK_L), cdiv(channels, BLOCK_D), batch)
    strides = (x.stride(0), x.stride(1))
    inputs = (x, weight.contiguous(), bias)
    sizes = (length, channels, *strides, weight.shape[1], silu, reverse, BLOCK_L, BLOCK_D)
    launch(causal_conv1d_forward_kernel, grid, *inputs, y, *sizes)
    return y
