"""What is elementwise in a residual branch, in Triton: each kernel reads and writes every value once.

Gradients of biases are sums over rows. A program walks a share of the rows and keeps the sums of its columns; the
caller adds the shares: no atomics, the same result on every run.
"""

from collections.abc import Callable
from functools import partial

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv

# Programs that fill the 132 SMs of an H100 or H200 eight times over; the sums of their shares are still cheap to add.
_PROGRAMS = 1056
_BLOCK = 2048
_ROWS = dict(BLOCK_M=16, BLOCK_N=128)

SQRT_HALF = tl.constexpr(0.7071067811865476)
NORMAL_PEAK = tl.constexpr(0.3989422804014327)  # 1 / sqrt(2 pi)
LOG2E = tl.constexpr(1.4426950408889634)


@triton.jit
def cast_kernel(pieces_ptr, out_ptr, BLOCK: tl.constexpr):
    piece = pieces_ptr + tl.program_id(0) * 3
    source = tl.load(piece).to(tl.pointer_type(tl.float32))
    first, size = tl.load(piece + 1), tl.load(piece + 2)
    i = tl.arange(0, BLOCK)
    inside = i < size
    tl.store(out_ptr + first + i, tl.load(source + i, mask=inside).to(out_ptr.dtype.element_ty), mask=inside)


def cast_launch(weights: list[Tensor]) -> Callable[[Tensor], None]:
    """What casts contiguous fp32 ``weights``, one after the other, into memory of another dtype that it is given.

    It reads them where they lie now.
    """
    pieces, end = [], 0
    for weight in weights:
        for first in range(0, weight.numel(), _BLOCK):
            pieces.append((weight.data_ptr() + 4 * first, end + first, min(_BLOCK, weight.numel() - first)))
        end += weight.numel()
    if not pieces:  # nor weights, or of sharded ones none here
        return lambda memory: None
    table = torch.tensor(pieces, device=weights[0].device)
    return partial(Launch(cast_kernel, (len(pieces),), BLOCK=_BLOCK), table)


@triton.jit
def add_branch_kernel(x_ptr, y_ptr, keep_ptr, out_ptr, size, BLOCK: tl.constexpr):
    image = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    offsets = image * size + i
    y = tl.load(y_ptr + offsets, mask=inside).to(tl.float32)
    if keep_ptr is not None:
        y *= tl.load(keep_ptr + image)
    x = tl.load(x_ptr + offsets, mask=inside).to(tl.float32)
    tl.store(out_ptr + offsets, (x + y).to(out_ptr.dtype.element_ty), mask=inside)


def add_branch(x: Tensor, y: Tensor, keep: Tensor | None) -> Tensor:
    """``x + keep * y`` in the dtype of ``x``, for contiguous maps (B, ...) and ``keep`` (B,), fp32, or None for 1."""
    out = torch.empty_like(x)
    batch = x.shape[0]
    _add_launch(batch, x.numel() // batch)(x, y, keep, out)
    return out


@cached_by_size
def _add_launch(batch: int, size: int) -> Launch:
    return Launch(add_branch_kernel, (cdiv(size, _BLOCK), batch), size=size, BLOCK=_BLOCK)


@triton.jit
def branch_gradient_kernel(
    dy_ptr, keep_ptr, out_ptr, sums_ptr, M, N, rows, tiles, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    share = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for i in range(tiles):
        m = (share * tiles + i) * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = (m < M)[:, None] & (n < N)[None, :]
        offsets = m[:, None] * N + n[None, :]
        dy = tl.load(dy_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        if keep_ptr is not None:
            dy *= tl.load(keep_ptr + m // rows, mask=m < M, other=0.0)[:, None]
        sums += dy
        tl.store(out_ptr + offsets, dy.to(out_ptr.dtype.element_ty), mask=inside)
    if sums_ptr is not None:
        tl.store(sums_ptr + share * N + n, tl.sum(sums, 0), mask=n < N)


def branch_gradient(dy: Tensor, keep: Tensor | None, dtype: torch.dtype, bias: bool) -> tuple[Tensor, Tensor | None]:
    """``keep * dy`` in ``dtype``, (B * H * W, C), and shares of its sums over pixels if a ``bias`` is to get them.

    Args:
        dy: (B, H, W, C), contiguous.
        keep: (B,) fp32, or None for 1.
        dtype: of the result.
        bias: whether sums, (shares, C) fp32, are asked for.
    """
    batch, height, width, channels = dy.shape
    launch, shares = _branch_gradient_launch(batch, height * width, channels)
    out = dy.new_empty(batch * height * width, channels, dtype=dtype)
    sums = dy.new_empty(shares, channels, dtype=torch.float32) if bias else None
    launch(dy, keep, out, sums)
    return out, sums


@cached_by_size
def _branch_gradient_launch(batch: int, rows: int, channels: int) -> tuple[Launch, int]:
    """The launch and its number of shares."""
    grid, tiles = _shares(batch * rows, channels)
    sizes = dict(M=batch * rows, N=channels, rows=rows, tiles=tiles)
    return Launch(branch_gradient_kernel, grid, **sizes, **_ROWS), grid[1]


@triton.jit
def gelu_backward_kernel(
    h_ptr, da_ptr, a_ptr, dh_ptr, sums_ptr, M, N, tiles, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr
):
    share = tl.program_id(1).to(tl.int64)
    n = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_M, BLOCK_N), tl.float32)
    for i in range(tiles):
        m = (share * tiles + i) * BLOCK_M + tl.arange(0, BLOCK_M)
        inside = (m < M)[:, None] & (n < N)[None, :]
        offsets = m[:, None] * N + n[None, :]
        h = tl.load(h_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        da = tl.load(da_ptr + offsets, mask=inside, other=0.0).to(tl.float32)
        cdf = 0.5 + 0.5 * tl.math.erf(h * SQRT_HALF)
        dh = da * (cdf + h * NORMAL_PEAK * tl.exp2(h * h * (-0.5 * LOG2E)))
        sums += dh
        tl.store(a_ptr + offsets, (h * cdf).to(a_ptr.dtype.element_ty), mask=inside)
        tl.store(dh_ptr + offsets, dh.to(dh_ptr.dtype.element_ty), mask=inside)
    tl.store(sums_ptr + share * N + n, tl.sum(sums, 0), mask=n < N)


def gelu_backward(h: Tensor, da: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For ``a = gelu(h)``, erf form, contiguous (M, N): ``a``, the gradient of ``h``, shares (S, N) of its sum."""
    a, dh = torch.empty_like(h), torch.empty_like(h)
    launch, shares = _gelu_backward_launch(*h.shape)
    sums = h.new_empty(shares, h.shape[1], dtype=torch.float32)
    launch(h, da, a, dh, sums)
    return a, dh, sums


@cached_by_size
def _gelu_backward_launch(rows: int, columns: int) -> tuple[Launch, int]:
    """The launch and its number of shares."""
    grid, tiles = _shares(rows, columns)
    return Launch(gelu_backward_kernel, grid, M=rows, N=columns, tiles=tiles, **_ROWS), grid[1]


@triton.jit
def merge_silu_backward_kernel(dx_ptr, projected_ptr, c_ptr, dc_ptr, size, PARTS: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    grad = tl.load(projected_ptr + i, mask=inside, other=0.0).to(tl.float32)
    for _ in tl.static_range(PARTS):
        grad += tl.load(dx_ptr + i, mask=inside, other=0.0).to(tl.float32)
        dx_ptr += size
    c = tl.load(c_ptr + i, mask=inside, other=0.0).to(tl.float32)
    s = 1.0 / (1.0 + tl.exp2(c * -LOG2E))
    tl.store(dc_ptr + i, (grad * s * (1.0 + c * (1.0 - s))).to(dc_ptr.dtype.element_ty), mask=inside)


def merge_silu_backward(dx: Tensor, through_projection: Tensor, c: Tensor) -> Tensor:
    """Gradient of ``c`` where the routes read ``silu(c)``.

    Args:
        dx: (K, ...), what each route gives to ``silu(c)``.
        through_projection: the shape of ``c``, what the projection gives to it.
        c: what went into SiLU. All contiguous.
    """
    dc = torch.empty_like(c)
    _merge_silu_backward_launch(c.numel(), dx.shape[0])(dx, through_projection, c, dc)
    return dc


@cached_by_size
def _merge_silu_backward_launch(size: int, parts: int) -> Launch:
    return Launch(merge_silu_backward_kernel, (cdiv(size, _BLOCK),), size=size, PARTS=parts, BLOCK=_BLOCK)


def _shares(rows: int, columns: int) -> tuple[tuple[int, int], int]:
    """The grid over blocks of columns and shares of the rows, and the tiles in a share."""
    blocks = cdiv(columns, _ROWS['BLOCK_N'])
    row_tiles = cdiv(rows, _ROWS['BLOCK_M'])
    tiles = cdiv(row_tiles, max(1, _PROGRAMS // blocks))
    return (blocks, cdiv(row_tiles, tiles)), tiles
