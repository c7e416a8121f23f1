"""Sums over all rows of a map, as gradients of weights are, of which each program of a kernel has added a share."""

from math import prod

import triton
from torch import Tensor
from triton import language as tl

from .launch import Launch, cached_by_size
from .sizes import cdiv

_BLOCK = dict(BLOCK_S=128, BLOCK_N=32)


@triton.jit
def add_up(shares_ptr, out_ptr, block, S, N, BLOCK_S: tl.constexpr, BLOCK_N: tl.constexpr):
    n = block * BLOCK_N + tl.arange(0, BLOCK_N)
    sums = tl.zeros((BLOCK_S, BLOCK_N), tl.float32)
    for start in range(0, S, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        inside = (s < S)[:, None] & (n < N)[None, :]
        sums += tl.load(shares_ptr + s[:, None] * N + n[None, :], mask=inside, other=0.0)
    tl.store(out_ptr + n, tl.sum(sums, 0), mask=n < N)


@triton.jit
def add_shares_kernel(
    a_ptr, b_ptr, c_ptr, d_ptr, out_ptr,
    S_a, S_b, S_c, S_d, N_a, N_b, N_c, N_d,
    BLOCK_S: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    to_b = tl.cdiv(N_a, BLOCK_N)
    to_c = to_b + tl.cdiv(N_b, BLOCK_N)
    to_d = to_c + tl.cdiv(N_c, BLOCK_N)
    if block < to_b:
        add_up(a_ptr, out_ptr, block, S_a, N_a, BLOCK_S, BLOCK_N)
    elif block < to_c:
        add_up(b_ptr, out_ptr + N_a, block - to_b, S_b, N_b, BLOCK_S, BLOCK_N)
    elif block < to_d:
        add_up(c_ptr, out_ptr + N_a + N_b, block - to_c, S_c, N_c, BLOCK_S, BLOCK_N)
    elif d_ptr is not None:
        add_up(d_ptr, out_ptr + N_a + N_b + N_c, block - to_d, S_d, N_d, BLOCK_S, BLOCK_N)


def add_shares(a: Tensor, b: Tensor, c: Tensor, d: Tensor | None, sizes: list[int]) -> tuple[Tensor, ...]:
    """The sums over the first axes, in one launch and the same on every run.

    Args:
        a: (shares, ...), contiguous, fp32, as ``b``, ``c`` and ``d``, which may be None.
        b: with another number of shares, and sums.
        c: as ``b``.
        d: as ``b``.
        sizes: of the pieces into which all sums, one after the other, are cut.

    Returns:
        The pieces, fp32, of one dimension.
    """
    launch, size = _launch(a.shape, b.shape, c.shape, None if d is None else d.shape)
    out = a.new_empty(size)
    launch(a, b, c, d, out)
    return out.split_with_sizes(sizes)


@cached_by_size
def _launch(*shapes: tuple[int, ...] | None) -> tuple[Launch, int]:
    """The launch, and the size of all sums."""
    shares = [shape[0] if shape else 0 for shape in shapes]
    sizes = [prod(shape[1:]) if shape else 0 for shape in shapes]
    names = 'abcd'
    arguments = {f'S_{name}': count for name, count in zip(names, shares, strict=True)}
    arguments |= {f'N_{name}': size for name, size in zip(names, sizes, strict=True)}
    blocks = sum(cdiv(size, _BLOCK['BLOCK_N']) for size in sizes)
    return Launch(add_shares_kernel, (blocks,), **arguments, **_BLOCK), sum(sizes)
