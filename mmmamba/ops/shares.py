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
    a_ptr, b_ptr, c_ptr, out_ptr, S_a, S_b, S_c, N_a, N_b, N_c, BLOCK_S: tl.constexpr, BLOCK_N: tl.constexpr
):
    block = tl.program_id(0)
    blocks_a, blocks_b = tl.cdiv(N_a, BLOCK_N), tl.cdiv(N_b, BLOCK_N)
    if block < blocks_a:
        add_up(a_ptr, out_ptr, block, S_a, N_a, BLOCK_S, BLOCK_N)
    elif block < blocks_a + blocks_b:
        add_up(b_ptr, out_ptr + N_a, block - blocks_a, S_b, N_b, BLOCK_S, BLOCK_N)
    else:
        add_up(c_ptr, out_ptr + N_a + N_b, block - blocks_a - blocks_b, S_c, N_c, BLOCK_S, BLOCK_N)


def add_shares(a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of each over its first axis, in one launch: the same on every run. Contiguous, fp32, (shares, ...)."""
    launch, sizes = _launch(a.shape, b.shape, c.shape)
    out = a.new_empty(sum(sizes))
    launch(a, b, c, out)
    parts = out.split_with_sizes(sizes)
    return tuple(part.view(shares.shape[1:]) for part, shares in zip(parts, (a, b, c), strict=True))


@cached_by_size
def _launch(*shapes: tuple[int, ...]) -> tuple[Launch, list[int]]:
    """The launch, and the sizes of the sums."""
    shares, sizes = [shape[0] for shape in shapes], [prod(shape[1:]) for shape in shapes]
    names = 'abc'
    arguments = {f'S_{name}': count for name, count in zip(names, shares, strict=True)}
    arguments |= {f'N_{name}': size for name, size in zip(names, sizes, strict=True)}
    blocks = sum(cdiv(size, _BLOCK['BLOCK_N']) for size in sizes)
    return Launch(add_shares_kernel, (blocks,), **arguments, **_BLOCK), sizes
