"""From what each segment of a route makes of a state to the state that enters it; a program for each d_state."""

import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv
from .triton_math import LOG2E, decay_rate, row, states_before


@triton.jit
def chain_kernel(
    ends_ptr,
    sums_ptr,
    A_ptr,
    E,
    G,
    segments,
    N: tl.constexpr,
    A_IS_LOG: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = tl.cdiv(E, BLOCK_C)
    c = tl.multiple_of(pid % blocks * BLOCK_C + tl.arange(0, BLOCK_C), 1)
    n = pid // blocks % N
    part = (pid // (blocks * N)).to(tl.int64)  # batch and group
    s = tl.arange(0, BLOCK_S)
    in_block = c < E
    A = tl.load(A_ptr + ((part % G) * E + c) * N + n, mask=in_block, other=0.0)
    A = decay_rate(A, A_IS_LOG) * LOG2E
    h = tl.zeros((BLOCK_C,), tl.float32)
    for first in range(0, segments, BLOCK_S):
        index = first + s
        inside = (index < segments)[:, None] & in_block[None, :]
        index = part * segments + (segments - 1 - index if REVERSE else index)
        end_offsets = (index[:, None] * N + n) * E + c[None, :]
        end = tl.load(ends_ptr + end_offsets, mask=inside, other=0.0)
        decay = tl.exp2(tl.load(sums_ptr + index[:, None] * E + c[None, :], mask=inside, other=0.0) * A[None, :])
        start = states_before(decay, end, h, s)
        tl.store(ends_ptr + end_offsets, start, mask=inside)
        h = row(start * decay + end, s, BLOCK_S - 1)


def chain_segments(ends: Tensor, sums: Tensor, A: Tensor, A_is_log: bool, reverse: bool) -> None:
    """Replace what each segment makes of a zero state, ``ends`` (b, G, S, N, E), by the state that enters it."""
    _chain_launch(ends.shape, A_is_log, reverse)(ends, sums, A)


@cached_by_size
def _chain_launch(shape: tuple[int, int, int, int, int], A_is_log: bool, reverse: bool) -> Launch:
    batch, groups, segments, d_state, channels = shape
    grid = (batch * groups * d_state * cdiv(channels, 32),)
    sizes = dict(E=channels, G=groups, segments=segments, N=d_state, A_IS_LOG=A_is_log)
    return Launch(chain_kernel, grid, **sizes, REVERSE=reverse, BLOCK_S=16, BLOCK_C=32, num_warps=1)
