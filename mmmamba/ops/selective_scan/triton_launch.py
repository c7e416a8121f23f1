"""What the forward and the backward kernel share: shapes, how a launch is cut up, the arguments of both, the route."""

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


class Shapes(NamedTuple):
    """What the launches of a scan depend on, beside addresses and options."""

    batch: int
    length: int  # pixels of the map, or steps of the sequence
    row_size: int  # channels of a pixel of u: E, read by all groups, or G * E, each its own
    groups: int
    channels: int  # of a group, E
    d_state: int
    steps: int  # of a route
    rank: int  # of the step sizes, 0 where they come expanded
    dtype: torch.dtype
    delta_dtype: torch.dtype
    delta_strides: tuple[int, ...]  # of batch, pixel and group
    B_strides: tuple[int, ...]  # and of C as well

    @classmethod
    def of(
        cls, u: Tensor, delta: Tensor, weight: Tensor | None, A: Tensor, B: Tensor, routes: Tensor | None
    ) -> 'Shapes':
        """Of tensors as in :func:`.triton_forward.scan_forward`."""
        steps = u.shape[1] if routes is None else routes.shape[1]
        rank = 0 if weight is None else weight.shape[2]
        return cls(*u.shape, *A.shape, steps, rank, u.dtype, delta.dtype, delta.stride()[:3], B.stride()[:3])

    @property
    def shares_channels(self) -> bool:
        """Whether all groups read the same channels of ``u``."""
        return self.row_size == self.channels

    @property
    def output(self) -> tuple[int, ...]:
        """Of a value per group and element of ``u``."""
        own = (self.batch, self.length, self.row_size)
        return (self.groups, *own) if self.shares_channels else own


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
    shapes: Shapes,
    reverse: bool,
    softplus: bool,
    A_is_log: bool,
    fast_dot: dict[torch.dtype, tl.dtype],
    config: Config,
) -> tuple[dict, tuple[int]]:
    """The arguments that both kernels take, and the grid.

    ``fast_dot`` says in which dtype matrix products read a dtype of ``delta``, if not in fp32.
    """
    batch, length, row_size, groups, channels, d_state, steps, rank, *_ = shapes
    tiles = cdiv(steps, config.BLOCK_T)
    strides = dict(zip(('stride_deltab', 'stride_deltal', 'stride_deltag'), shapes.delta_strides, strict=True))
    strides |= zip(('stride_Bb', 'stride_Bl', 'stride_Bg'), shapes.B_strides, strict=True)
    arguments = dict(
        batch=batch,
        T=steps,
        E=channels,
        G=groups,
        images=config.images,
        segments=config.segments,
        segment_tiles=cdiv(tiles, config.segments),
        stride_ub=length * row_size,
        stride_ug=0 if shapes.shares_channels else channels,
        stride_row=row_size,
        **strides,
        R=rank,
        N=d_state,
        REVERSE=reverse,
        SOFTPLUS=softplus,
        A_IS_LOG=A_is_log,
        EXACT=torch.float32 in (shapes.dtype, shapes.delta_dtype),
        # The interpreter would take the bits of bf16 operands for integers.
        DOT=tl.float32 if INTERPRETS_TRITON else fast_dot.get(shapes.delta_dtype, tl.float32),
        WIDE=length * max(row_size, shapes.delta_strides[1], shapes.B_strides[1]) >= 2**31,
        BLOCK_T=config.BLOCK_T,
        BLOCK_C=config.BLOCK_C,
        BLOCK_R=max(16, next_power_of_2(rank + 2)),
        VECTOR=max(1, config.BLOCK_C // (32 * config.num_warps)),  # neighbouring channels of one lane
        num_warps=config.num_warps,
    )
    programs = cdiv(channels, config.BLOCK_C) * groups * config.segments * cdiv(batch, config.images)
    return arguments, (programs,)


def output_like(u: Tensor, shapes: Shapes, dtype: torch.dtype) -> Tensor:
    """Memory for a value per group and element of ``u``; zeros where the routes leave pixels out."""
    new = u.new_empty if shapes.steps == shapes.length else u.new_zeros
    return new(*shapes.output, dtype=dtype)


def segment_buffers(A: Tensor, shapes: Shapes, config: Config) -> tuple[Tensor, Tensor]:
    """A state and a sum of step sizes for each segment: (b, G, S, N, E) and (b, G, S, E)."""
    parts = (shapes.batch, shapes.groups, config.segments)
    return A.new_empty(*parts, shapes.d_state, shapes.channels), A.new_empty(*parts, shapes.channels)
