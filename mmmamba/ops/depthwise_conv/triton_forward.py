"""Forward depthwise 3x3 convolution of channels-last maps in Triton, SiLU behind it: a program walks down a strip.

A strip is some columns and channels of one map. Each of its rows is read once, at three offsets, and adds to the three
rows of the result that see it.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv

LOG2E = tl.constexpr(1.4426950408889634)

# ms on one H100, bf16, 2026-11-27, forward with SiLU / backward, beside cuDNN's (with PyTorch's SiLU), batch 128:
# 56 x 56 x 96 0.093 / 0.178 (0.137 / 0.226), 28 x 28 x 192 0.053 / 0.105 (0.073 / 0.119), 14 x 14 x 384 0.029 / 0.061
# (0.041 / 0.074), 7 x 7 x 768 0.015 / 0.034 (0.025 / 0.046). Wider blocks of channels are no faster.
_BLOCK_W, _BLOCK_C = 8, 32

# Programs that fill the 132 SMs of an H100 or H200.
_PROGRAMS = 132 * 8


@triton.jit
def strip(pid, H, W, C, strips, chunks, rows, BLOCK_W: tl.constexpr):
    """The columns, the first row and the row behind the last one of a program, and where its map begins."""
    column = pid % strips * BLOCK_W + tl.arange(0, BLOCK_W)
    first = (pid // strips % chunks * rows).to(tl.int64)
    image = (pid // (strips * chunks)).to(tl.int64)
    return column, first, tl.minimum(first + rows, H), image * H * W * C


@triton.jit
def load_row(row_ptr, row, column, c, H, W, C):
    """A row's pixels at some columns, 0 outside of the map."""
    inside = ((row >= 0) & (row < H) & (column >= 0) & (column < W))[:, None] & (c < C)[None, :]
    return tl.load(row_ptr + (column[:, None] * C + c[None, :]), mask=inside, other=0.0)


@triton.jit
def load_weights(weight_ptr, c, C, ROW: tl.constexpr):
    """One row of the kernel: the weights of the pixels on the left, in the middle and on the right."""
    at = weight_ptr + c * 9 + ROW * 3
    left = tl.load(at, mask=c < C, other=0.0).to(tl.float32)[None, :]
    middle = tl.load(at + 1, mask=c < C, other=0.0).to(tl.float32)[None, :]
    right = tl.load(at + 2, mask=c < C, other=0.0).to(tl.float32)[None, :]
    return left, middle, right


@triton.jit
def depthwise_forward_kernel(
    x_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    sum_ptr,
    H,
    W,
    C,
    strips,
    chunks,
    rows,
    SILU: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    column, first, end, start = strip(tl.program_id(1), H, W, C, strips, chunks, rows, BLOCK_W)
    inside = (column < W)[:, None] & (c < C)[None, :]
    offsets = column[:, None] * C + c[None, :]
    a0, a1, a2 = load_weights(weight_ptr, c, C, 0)
    b0, b1, b2 = load_weights(weight_ptr, c, C, 1)
    c0, c1, c2 = load_weights(weight_ptr, c, C, 2)
    above = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)  # what the row above and the current one still lack
    current = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    bias = tl.zeros((1, BLOCK_C), tl.float32)
    if bias_ptr is not None:
        bias += tl.load(bias_ptr + c, mask=c < C, other=0.0).to(tl.float32)[None, :]
    row_ptr = x_ptr + start + (first - 1) * W * C
    next_left = load_row(row_ptr, first - 1, column - 1, c, H, W, C)
    next_middle = load_row(row_ptr, first - 1, column, c, H, W, C)
    next_right = load_row(row_ptr, first - 1, column + 1, c, H, W, C)
    done = start + (first - 2) * W * C
    for row in range(first - 1, end + 1):
        left, middle, right = next_left.to(tl.float32), next_middle.to(tl.float32), next_right.to(tl.float32)
        row_ptr += W * C
        next_left = load_row(row_ptr, row + 1, column - 1, c, H, W, C)
        next_middle = load_row(row_ptr, row + 1, column, c, H, W, C)
        next_right = load_row(row_ptr, row + 1, column + 1, c, H, W, C)
        y = above + c0 * left + c1 * middle + c2 * right + bias
        above = current + b0 * left + b1 * middle + b2 * right
        current = a0 * left + a1 * middle + a2 * right
        if row > first:
            if sum_ptr is not None:
                tl.store(sum_ptr + done + offsets, y.to(sum_ptr.dtype.element_ty), mask=inside)
            if SILU:
                y = y / (1.0 + tl.exp2(y * -LOG2E))
            tl.store(y_ptr + done + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)
        done += W * C


def depthwise_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, silu: bool, keep_input_of_silu: bool = False
) -> tuple[Tensor, Tensor | None]:
    """The convolution of contiguous ``x`` (B, H, W, C), in its dtype, through SiLU if asked for.

    Args:
        x: (B, H, W, C), contiguous.
        weight: (C, 1, 3, 3), contiguous, of any floating dtype.
        bias: (C,) or None.
        silu: whether SiLU follows.
        keep_input_of_silu: whether to return the input of SiLU as well.
    """
    y = torch.empty_like(x)
    sums = torch.empty_like(x) if keep_input_of_silu else None
    _forward_launch(x.shape, silu)(x, weight, bias, y, sums)
    return y, sums


@cached_by_size
def _forward_launch(shape: tuple[int, int, int, int], silu: bool) -> Launch:
    grid, sizes = cut(shape)
    return Launch(depthwise_forward_kernel, grid, **sizes, SILU=silu, num_warps=2)


def cut(shape: tuple[int, int, int, int]) -> tuple[tuple[int, int], dict]:
    """The grid and the sizes of a launch: strips, and chunks of their rows where strips alone are too few."""
    batch, height, width, channels = shape
    blocks, strips = cdiv(channels, _BLOCK_C), cdiv(width, _BLOCK_W)
    chunks = min(cdiv(height, 8), cdiv(_PROGRAMS, blocks * strips * batch))
    rows = cdiv(height, chunks)
    chunks = cdiv(height, rows)
    sizes = dict(H=height, W=width, C=channels, strips=strips, chunks=chunks, rows=rows)
    return (blocks, batch * strips * chunks), dict(sizes, BLOCK_W=_BLOCK_W, BLOCK_C=_BLOCK_C)
