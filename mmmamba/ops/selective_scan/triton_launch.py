"""What the forward and the backward kernel share: how a launch is cut up, the arguments of both, the route."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..backend import INTERPRETS_TRITON
from ..sizes import cdiv, next_power_of_2

# The forward pass saves the state before every 16th step; the backward pass recomputes those between. 16 steps fill a
# matrix product, and 32 do not fit the registers.
SAVED_STEPS = 16


class Config(NamedTuple):
    """How a launch is cut up."""

    BLOCK_T: int  # steps in a tile
    BLOCK_C: int  # channels in a tile
    num_warps: int
    images: int  # images a program takes one after the other, so that it loads its weights once
    segments: int  # parts of a route, each with programs of its own


@triton.jit
def pixels(routes_ptr, step, T, REVERSE: tl.constexpr, WIDE: tl.constexpr):
    """The pixel of each step, and which steps exist. Without routes, pixels are in order, or from the last.

    Steps behind the end stand at a pixel of the route, so that loads need no mask: it is enough that what they would
    write, and their gradients, are masked.
    """
    valid = step < T
    if routes_ptr is None:
        p = tl.where(valid, T - 1 - step if REVERSE else step, 0)
    else:
        p = tl.load(routes_ptr + tl.minimum(step, T - 1))
    return p.to(tl.int64 if WIDE else tl.int32), valid


def launch_arguments(
    u: Tensor,
    delta: Tensor,
    weight: Tensor | None,
    A: Tensor,
    B: Tensor,
    routes: Tensor | None,
    reverse: bool,
    softplus: bool,
    fast_dot: dict[torch.dtype, tl.dtype],
    config: Config,
) -> tuple[dict, tuple[int]]:
    """The arguments that both kernels take, and the grid. Tensors as in :func:`.triton_forward.scan_forward`.

    ``fast_dot`` says in which dtype matrix products read a dtype of ``delta``, if not in fp32.
    """
    batch, length, row_size = u.shape
    groups, channels, d_state = A.shape
    steps = length if routes is None else routes.shape[1]
    rank = 0 if weight is None else weight.shape[2]
    tiles = cdiv(steps, config.BLOCK_T)
    arguments = dict(
        batch=batch,
        T=steps,
        E=channels,
        G=groups,
        images=config.images,
        segments=config.segments,
        segment_tiles=cdiv(tiles, config.segments),
        stride_ub=u.stride(0),
        stride_ug=0 if reads_shared_channels(u, A) else channels,
        stride_row=row_size,
        stride_deltab=delta.stride(0),
        stride_deltal=delta.stride(1),
        stride_deltag=delta.stride(2),
        stride_Bb=B.stride(0),
        stride_Bl=B.stride(1),
        stride_Bg=B.stride(2),
        R=rank,
        N=d_state,
        REVERSE=reverse,
        SOFTPLUS=softplus,
        EXACT=torch.float32 in (u.dtype, delta.dtype),
        # The interpreter would take the bits of bf16 operands for integers.
        DOT=tl.float32 if INTERPRETS_TRITON else fast_dot.get(delta.dtype, tl.float32),
        WIDE=length * max(row_size, delta.stride(1), B.stride(1)) >= 2**31,
        BLOCK_T=config.BLOCK_T,
        BLOCK_C=config.BLOCK_C,
        BLOCK_R=max(16, next_power_of_2(rank + 2)),
        VECTOR=max(1, config.BLOCK_C // (32 * config.num_warps)),  # neighbouring channels of one lane
        num_warps=config.num_warps,
    )
    programs = cdiv(channels, config.BLOCK_C) * groups * config.segments * cdiv(batch, config.images)
    return arguments, (programs,)


def reads_shared_channels(u: Tensor, A: Tensor) -> bool:
    """Whether all groups read the same channels of ``u``, (b, L, E), and not each its own, (b, L, G * E)."""
    return u.shape[2] == A.shape[1]


def output_like(u: Tensor, A: Tensor, routes: Tensor | None, dtype: torch.dtype) -> Tensor:
    """Memory for a value per group and element of ``u``; zeros where the routes may leave pixels out."""
    shape = (A.shape[0], *u.shape) if reads_shared_channels(u, A) else u.shape
    new = torch.empty if routes is None or routes.shape[1] == u.shape[1] else torch.zeros
    return new(shape, dtype=dtype, device=u.device)


def segment_buffers(batch: int, A: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """A state and a sum of step sizes for each segment: (b, G, S, N, E) and (b, G, S, E)."""
    groups, channels, d_state = A.shape
    shape = (batch, groups, config.segments)
    return A.new_empty(*shape, d_state, channels), A.new_empty(*shape, channels)
