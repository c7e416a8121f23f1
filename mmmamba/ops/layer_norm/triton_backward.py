"""Backward LayerNorm in Triton: a program walks a share of the rows and keeps its sums for weight and bias.

The caller adds the shares of the sums: no atomics, the same result on every run.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv
from .triton_forward import rows_of_a_program

# Shares of the rows: they fill the 132 SMs of an H100 four times over, and their sums are still cheap to add.
_SHARES = 528


@triton.jit
def layer_norm_backward_kernel(
    dy_ptr,
    x_ptr,
    shift_ptr,
    weight_ptr,
    statistics_ptr,
    bias_ptr,
    residual_ptr,
    dx_ptr,
    sums_ptr,
    y_ptr,
    M,
    C,
    tiles,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    c = tl.arange(0, BLOCK_C)
    in_row = c < C
    weight = tl.full((BLOCK_C,), 1.0, tl.float32)
    if weight_ptr is not None:
        weight = tl.load(weight_ptr + c, mask=in_row, other=0.0).to(tl.float32)
    dweight = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    dbias = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    dshift = tl.zeros((BLOCK_M, BLOCK_C), tl.float32)
    rows = 2 if shift_ptr is None else 3
    for i in range(tiles):
        m = (pid * tiles + i) * BLOCK_M + tl.arange(0, BLOCK_M)
        in_rows = m < M
        inside = in_rows[:, None] & in_row[None, :]
        offsets = m[:, None] * C + c[None, :]
        dy = tl.load(dy_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        x = tl.load(x_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        if shift_ptr is not None:
            x += tl.load(shift_ptr + c, mask=in_row, other=0.0).to(tl.float32)[None, :]
        mean = tl.load(statistics_ptr + m, mask=in_rows, other=0.0)
        rstd = tl.load(statistics_ptr + M + m, mask=in_rows, other=0.0)
        x = tl.where(inside, (x - mean[:, None]) * rstd[:, None], 0.0)
        if y_ptr is not None:
            y = x * weight[None, :]
            if bias_ptr is not None:
                y += tl.load(bias_ptr + c, mask=in_row, other=0.0).to(tl.float32)[None, :]
            tl.store(y_ptr + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)
        dweight += dy * x
        dbias += dy
        dy *= weight[None, :]
        dx = dy - (x * (tl.sum(dy * x, 1) / C)[:, None] + (tl.sum(dy, 1) / C)[:, None])
        dx *= rstd[:, None]
        if shift_ptr is not None:
            dshift += dx
        if residual_ptr is not None:
            dx += tl.load(residual_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        tl.store(dx_ptr + offsets, dx.to(dx_ptr.dtype.element_ty), mask=inside)
    sums_ptr += pid * rows * C
    tl.store(sums_ptr + c, tl.sum(dweight, 0), mask=in_row)
    tl.store(sums_ptr + C + c, tl.sum(dbias, 0), mask=in_row)
    if shift_ptr is not None:
        tl.store(sums_ptr + 2 * C + c, tl.sum(dshift, 0), mask=in_row)


def layer_norm_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor | None,
    statistics: Tensor,
    *,
    shift: Tensor | None = None,
    bias: Tensor | None = None,
    residual: Tensor | None = None,
    y: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gradients of ``x``, in its dtype, and of weight, bias and, if there is one, shift.

    The latter are fp32, in shares (shares, 2 or 3, C) that are to be added.

    Args:
        dy: (..., C), contiguous.
        x: the shape of ``dy``, contiguous.
        weight: (C,), None for 1.
        statistics: (2, rows) fp32, of the forward pass.
        shift: (C,), None for 0.
        bias: (C,), None for 0; read for ``y`` alone.
        residual: added to the gradient of ``x``; the shape of it, contiguous.
        y: where to write the forward pass's result again, if that is wanted: a map like ``dy``, in other memory.
    """
    channels = x.shape[-1]
    launch, shares = _backward_launch(statistics.shape[1], channels)
    dx = torch.empty_like(x)
    sums = x.new_empty(shares, 2 if shift is None else 3, channels, dtype=torch.float32)
    launch(dy, x, shift, weight, statistics, bias, residual, dx, sums, y)
    return dx, sums


@cached_by_size
def _backward_launch(rows: int, channels: int) -> tuple[Launch, int]:
    """The launch and its number of shares."""
    block_m, block_c, num_warps = rows_of_a_program(channels)
    tiles = cdiv(cdiv(rows, block_m), _SHARES)
    shares = cdiv(rows, block_m * tiles)
    sizes = dict(M=rows, C=channels, tiles=tiles, BLOCK_M=block_m, BLOCK_C=block_c)
    return Launch(layer_norm_backward_kernel, (shares,), **sizes, num_warps=num_warps), shares
