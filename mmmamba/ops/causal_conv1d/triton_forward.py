"""Causal depthwise convolution in Triton: a program makes a tile of steps by channels of one sequence."""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv

BLOCK_L = 32
BLOCK_D = 64


@triton.jit
def places(routes_ptr, step, L):
    """Where the tokens of the steps are, and which steps exist."""
    valid = (step >= 0) & (step < L)
    return step if routes_ptr is None else tl.load(routes_ptr + step, mask=valid, other=0), valid


@triton.jit
def load_steps(x_ptr, routes_ptr, step, d, L, stride_l, D):
    """Rows of the steps of a sequence, zeros where there is no such step, in fp32."""
    p, valid = places(routes_ptr, step, L)
    inside = valid[:, None] & (d < D)[None, :]
    return tl.load(x_ptr + p[:, None] * stride_l + d[None, :], mask=inside, other=0.0).to(tl.float32)


@triton.jit
def convolve(
    x_ptr, weight_ptr, bias_ptr, routes_ptr, step, d, L, stride_l, D, WIDTH: tl.constexpr, REVERSE: tl.constexpr
):
    """The convolution at steps ``step``, before any activation."""
    y = tl.zeros((step.shape[0], d.shape[0]), tl.float32)
    if bias_ptr is not None:
        y += tl.load(bias_ptr + d, mask=d < D, other=0.0).to(tl.float32)[None, :]
    for k in tl.static_range(WIDTH):
        weight = tl.load(weight_ptr + d * WIDTH + k, mask=d < D, other=0.0).to(tl.float32)
        source = step + (WIDTH - 1 - k) if REVERSE else step - (WIDTH - 1 - k)
        y += weight[None, :] * load_steps(x_ptr, routes_ptr, source, d, L, stride_l, D)
    return y


@triton.jit
def causal_conv1d_forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    routes_ptr,
    y_ptr,
    L,
    D,
    K,
    stride_b,
    stride_l,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    b, k = (tl.program_id(2) // K).to(tl.int64), tl.program_id(2) % K
    step = tl.program_id(0).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    weight_ptr += k * D * WIDTH
    if bias_ptr is not None:
        bias_ptr += k * D
    if routes_ptr is not None:
        routes_ptr += k * L
    y = convolve(x_ptr + b * stride_b, weight_ptr, bias_ptr, routes_ptr, step, d, L, stride_l, D, WIDTH, REVERSE)
    if SILU:
        y *= tl.sigmoid(y)
    p, valid = places(routes_ptr, step, L)
    inside = valid[:, None] & (d < D)[None, :]
    offsets = ((b * L + p) * K + k)[:, None] * D + d[None, :]
    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)


def causal_conv1d_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, routes: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    """The convolution of (batch, L, D), or with routes (batch, L, K * D), contiguous."""
    batch, length, channels = x.shape
    count = 1 if routes is None else len(routes)
    x = x if x.stride(2) == 1 else x.contiguous()
    y = torch.empty((batch, length, count * channels), dtype=x.dtype, device=x.device)
    launch = _forward_launch(x.shape, x.stride(), count, weight.shape[-1], silu, reverse)
    launch(x, *(t if t is None else t.contiguous() for t in (weight, bias, routes)), y)
    return y


@cached_by_size
def _forward_launch(
    shape: tuple[int, int, int], strides: tuple[int, int, int], routes: int, width: int, silu: bool, reverse: bool
) -> Launch:
    batch, length, channels = shape
    grid = (cdiv(length, BLOCK_L), cdiv(channels, BLOCK_D), batch * routes)
    sizes = dict(L=length, D=channels, K=routes, stride_b=strides[0], stride_l=strides[1])
    options = dict(WIDTH=width, SILU=silu, REVERSE=reverse, BLOCK_L=BLOCK_L, BLOCK_D=BLOCK_D)
    return Launch(causal_conv1d_forward_kernel, grid, **sizes, **options)
