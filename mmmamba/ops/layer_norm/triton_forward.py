"""LayerNorm in Triton: a program takes BLOCK_M rows of (M, C) and holds them whole."""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv, next_power_of_2


@triton.jit
def layer_norm_forward_kernel(
    x_ptr,
    shift_ptr,
    weight_ptr,
    bias_ptr,
    y_ptr,
    statistics_ptr,
    merged_ptr,
    M,
    C,
    eps,
    PARTS: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    c = tl.arange(0, BLOCK_C)
    in_rows, in_row = m < M, c < C
    inside = in_rows[:, None] & in_row[None, :]
    offsets = m[:, None] * C + c[None, :]

    x = tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    for _ in tl.static_range(1, PARTS):
        x_ptr += M.to(tl.int64) * C
        x += tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
    if PARTS > 1:
        x = x.to(x_ptr.dtype.element_ty)
        if merged_ptr is not None:
            tl.store(merged_ptr + offsets, x, mask=inside)
        x = x.to(tl.float32)  # what the backward pass will read
    if shift_ptr is not None:
        x += tl.load(shift_ptr + c, mask=in_row, other=0.0).to(tl.float32)[None, :]
    mean = tl.sum(x, 1) / C
    x = tl.where(inside, x - mean[:, None], 0.0)
    rstd = tl.rsqrt(tl.sum(x * x, 1) / C + eps)
    y = x * rstd[:, None]
    if weight_ptr is not None:
        y *= tl.load(weight_ptr + c, mask=in_row, other=0.0).to(tl.float32)[None, :]
    if bias_ptr is not None:
        y += tl.load(bias_ptr + c, mask=in_row, other=0.0).to(tl.float32)[None, :]

    tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)
    if statistics_ptr is not None:
        tl.store(statistics_ptr + m, mean, mask=in_rows)
        tl.store(statistics_ptr + M + m, rstd, mask=in_rows)


def layer_norm_forward(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    dtype: torch.dtype,
    save: bool,
    *,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """The normed rows of contiguous ``x`` (..., C) in ``dtype``; with ``save`` mean and 1 / deviation, (2, M).

    ``shift`` (C,) is added to the rows first.
    """
    y = torch.empty_like(x, dtype=dtype)
    channels = x.shape[-1]
    rows = x.numel() // channels
    statistics = x.new_empty(2, rows, dtype=torch.float32) if save else None
    _forward_launch(rows, channels, 1, eps)(x, shift, weight, bias, y, statistics, None)
    return y, statistics


def merge_and_norm(
    parts: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, dtype: torch.dtype, save: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """As :func:`layer_norm_forward` of the sum of contiguous ``parts`` (P, ..., C), and with ``save`` that sum."""
    count, *shape = parts.shape
    y = parts.new_empty(*shape, dtype=dtype)
    rows = y.numel() // shape[-1]
    merged = parts.new_empty(*shape) if save and count > 1 else None
    statistics = parts.new_empty(2, rows, dtype=torch.float32) if save else None
    _forward_launch(rows, shape[-1], count, eps)(parts, None, weight, bias, y, statistics, merged)
    return y, statistics, parts[0] if save and count == 1 else merged


@cached_by_size
def _forward_launch(rows: int, channels: int, parts: int, eps: float) -> Launch:
    block_m, block_c, num_warps = rows_of_a_program(channels)
    sizes = dict(M=rows, C=channels, eps=eps, PARTS=parts, BLOCK_M=block_m, BLOCK_C=block_c)
    return Launch(layer_norm_forward_kernel, (cdiv(rows, block_m),), **sizes, num_warps=num_warps)


def rows_of_a_program(channels: int) -> tuple[int, int, int]:
    """BLOCK_M, BLOCK_C and warps: 2048 values, 16 a lane, or a whole row with as many lanes as that takes."""
    block_c = next_power_of_2(channels)
    block_m = max(1, 2048 // block_c)
    return block_m, block_c, min(16, max(4, block_m * block_c // 512))
