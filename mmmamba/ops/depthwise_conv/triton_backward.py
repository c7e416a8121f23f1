"""Backward depthwise 3x3 convolution in Triton: the strips of the forward pass, each with its share of the sums.

A row of the gradient, read once at three offsets, gives to three rows of the map's gradient, and together with three
rows of the map to all sums for the weight. The launcher adds the shares: no atomics, the same result on every run.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from .triton_forward import cut, load_row, load_weights, strip


@triton.jit
def store_sums(sums_ptr, c, C, TAP: tl.constexpr, sums):
    tl.store(sums_ptr + c * 9 + TAP, tl.sum(sums, 0), mask=c < C)


@triton.jit
def depthwise_backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    dx_ptr,
    sums_ptr,
    H,
    W,
    C,
    strips,
    chunks,
    rows,
    BIAS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    column, first, end, start = strip(tl.program_id(1), H, W, C, strips, chunks, rows, BLOCK_W)
    inside = (column < W)[:, None] & (c < C)[None, :]
    offsets = column[:, None] * C + c[None, :]
    # Turned by 180 degrees: what a pixel gave to its right neighbour comes back from there.
    a2, a1, a0 = load_weights(weight_ptr, c, C, 2)
    b2, b1, b0 = load_weights(weight_ptr, c, C, 1)
    c2, c1, c0 = load_weights(weight_ptr, c, C, 0)
    above = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    current = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    zero = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    d00, d01, d02, d10, d11, d12, d20, d21, d22 = zero, zero, zero, zero, zero, zero, zero, zero, zero
    dbias = zero
    x_above = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    x_current = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    row_start = start + (first - 1) * W * C
    next_left = load_row(dy_ptr + row_start, first - 1, column - 1, c, H, W, C)
    next_middle = load_row(dy_ptr + row_start, first - 1, column, c, H, W, C)
    next_right = load_row(dy_ptr + row_start, first - 1, column + 1, c, H, W, C)
    next_x = load_row(x_ptr + row_start + W * C, first, column, c, end, W, C)
    for row in range(first - 1, end + 1):
        left, middle, right = next_left.to(tl.float32), next_middle.to(tl.float32), next_right.to(tl.float32)
        x_below = next_x.to(tl.float32)
        done = row_start - W * C
        row_start += W * C
        next_left = load_row(dy_ptr + row_start, row + 1, column - 1, c, H, W, C)
        next_middle = load_row(dy_ptr + row_start, row + 1, column, c, H, W, C)
        next_right = load_row(dy_ptr + row_start, row + 1, column + 1, c, H, W, C)
        # Each row of the map counts in one program: the rows above and below a chunk are those of others.
        next_x = load_row(x_ptr + row_start + W * C, row + 2, column, c, end, W, C)
        dx = above + c0 * left + c1 * middle + c2 * right
        above = current + b0 * left + b1 * middle + b2 * right
        current = a0 * left + a1 * middle + a2 * right
        if row > first:
            tl.store(dx_ptr + done + offsets, dx.to(dx_ptr.dtype.element_ty), mask=inside)
        d00 += x_above * right
        d01 += x_above * middle
        d02 += x_above * left
        d10 += x_current * right
        d11 += x_current * middle
        d12 += x_current * left
        d20 += x_below * right
        d21 += x_below * middle
        d22 += x_below * left
        if BIAS:
            dbias += tl.where((row >= first) & (row < end), middle, 0.0)
        x_above = x_current
        x_current = x_below
    sums_ptr += tl.program_id(1).to(tl.int64) * C * (10 if BIAS else 9)
    store_sums(sums_ptr, c, C, 0, d00)
    store_sums(sums_ptr, c, C, 1, d01)
    store_sums(sums_ptr, c, C, 2, d02)
    store_sums(sums_ptr, c, C, 3, d10)
    store_sums(sums_ptr, c, C, 4, d11)
    store_sums(sums_ptr, c, C, 5, d12)
    store_sums(sums_ptr, c, C, 6, d20)
    store_sums(sums_ptr, c, C, 7, d21)
    store_sums(sums_ptr, c, C, 8, d22)
    if BIAS:
        tl.store(sums_ptr + C * 9 + c, tl.sum(dbias, 0), mask=c < C)


def depthwise_backward(dy: Tensor, x: Tensor, weight: Tensor, has_bias: bool) -> tuple[Tensor, Tensor]:
    """Gradients of ``x``, in its dtype, and of weight and bias in shares.

    The shares, (shares, C * 9 or, with a bias, C * 10) fp32, are to be added and cut by :func:`weight_and_bias`.

    Args:
        dy: (B, H, W, C), contiguous, the gradient of the sums before any SiLU.
        x: (B, H, W, C), contiguous.
        weight: as in :func:`.triton_forward.depthwise_forward`.
        has_bias: whether to return a gradient of the bias.
    """
    channels = x.shape[3]
    launch, shares = _backward_launch(x.shape, has_bias)
    dx = torch.empty_like(x)
    sums = x.new_empty(shares, channels * (10 if has_bias else 9), dtype=torch.float32)
    launch(dy, x, weight, dx, sums)
    return dx, sums


def weight_and_bias(sums: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """The gradients of the weight (C, 1, 3, 3) and of the bias, which is empty if there is none."""
    return sums[: 9 * channels].view(channels, 1, 3, 3), sums[9 * channels :]


@cached_by_size
def _backward_launch(shape: tuple[int, int, int, int], has_bias: bool) -> tuple[Launch, int]:
    """The launch and its number of shares."""
    grid, sizes = cut(shape)
    return Launch(depthwise_backward_kernel, grid, **sizes, BIAS=has_bias, num_warps=1), grid[1]
