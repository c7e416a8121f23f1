"""Forward selective scan in Triton: a program walks one block of channels of one group along its route.

A program keeps its states in registers and takes BLOCK_T steps at a time. Where batch, groups and channels give too few
programs, routes are cut into segments: a first launch finds what each segment does to a state (SUMMARY), a small one
chains the segments, and the scan proper starts each of them from its true state.

Layout: see :func:`scan_forward`.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import next_power_of_2
from .triton_launch import SAVED_STEPS, Config, Shapes, launch_arguments, output_like, pixels, segment_buffers
from .triton_math import LOG2E, decay_rate, exp_of_minus_abs, row, softplus, states_after, steps_in_lane, with_row
from .triton_segments import chain_segments


@triton.jit
def scan_forward_kernel(
    u_ptr,
    delta_ptr,
    weight_ptr,
    bias_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    routes_ptr,
    starts_ptr,
    y_ptr,
    states_ptr,
    ends_ptr,
    sums_ptr,
    batch,
    T,
    E,
    G,
    images,
    segments,
    segment_tiles,
    stride_ub,
    stride_ug,
    stride_row,
    stride_yb,
    stride_yg,
    stride_deltab,
    stride_deltal,
    stride_deltag,
    stride_Bb,
    stride_Bl,
    stride_Bg,
    stride_states,
    R: tl.constexpr,
    N: tl.constexpr,
    REVERSE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    A_IS_LOG: tl.constexpr,
    EXACT: tl.constexpr,
    DOT: tl.constexpr,
    SUMMARY: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
    VECTOR: tl.constexpr,
    SAVE_T: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = tl.cdiv(E, BLOCK_C)
    c = tl.multiple_of(pid % blocks * BLOCK_C + tl.arange(0, BLOCK_C), VECTOR)
    g = (pid // blocks % G).to(tl.int64)
    segment = pid // (blocks * G) % segments
    first_image = (pid // (blocks * G * segments)).to(tl.int64) * images
    t, r, n_index = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_N)
    route_tiles = tl.cdiv(T, BLOCK_T)
    first_tile = segment * segment_tiles
    tiles = tl.minimum(route_tiles - first_tile, segment_tiles)
    total = tl.minimum(batch - first_image, images).to(tl.int32) * tiles

    in_block = c < E
    channel = g * E + c
    in_A = in_block[None, :] & (n_index < N)[:, None]
    A = tl.load(A_ptr + channel[None, :] * N + n_index[:, None], mask=in_A, other=0.0)
    A = steps_in_lane(decay_rate(A, A_IS_LOG) * LOG2E)
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + channel, mask=in_block, other=0.0)
    if D_ptr is not None:
        D = tl.load(D_ptr + channel, mask=in_block, other=0.0)
    if R > 0:
        in_weight = in_block[None, :] & (r < R)[:, None]
        weight = tl.load(weight_ptr + channel[None, :] * R + r[:, None], mask=in_weight, other=0.0)
        weight = weight.to(DOT)
    u_ptr += g * stride_ug
    y_ptr += g * stride_yg
    delta_ptr += g * stride_deltag
    B_ptr += g * stride_Bg
    C_ptr += g * stride_Bg
    if routes_ptr is not None:
        routes_ptr += g * T

    h = tl.zeros((BLOCK_N, BLOCK_C), tl.float32)
    sum_dt = tl.zeros((BLOCK_C,), tl.float32)
    if starts_ptr is not None:
        in_segments = ((first_image * G + g) * segments + segment) * N * E
        h = tl.load(starts_ptr + in_segments + n_index[:, None] * E + c[None, :], mask=in_A, other=0.0)
        h = steps_in_lane(h)
    for i in range(total):
        image, tile = first_image + i // tiles, first_tile + i % tiles
        p, valid = pixels(routes_ptr, tile * BLOCK_T + t, T, REVERSE, WIDE)
        inside = valid[:, None] & in_block[None, :]
        offsets = p[:, None] * stride_row + c[None, :]
        u = tl.load(u_ptr + image * stride_ub + offsets, mask=in_block[None, :], other=0.0).to(tl.float32)
        if R > 0:
            low_offsets = p[:, None] * stride_deltal + r[None, :]
            low = tl.load(delta_ptr + image * stride_deltab + low_offsets, mask=(r < R)[None, :], other=0.0)
            dt = steps_in_lane(tl.dot(low.to(DOT), weight, input_precision='tf32x3'))
        else:
            delta_offsets = p[:, None] * stride_deltal + c[None, :]
            dt = tl.load(delta_ptr + image * stride_deltab + delta_offsets, mask=in_block[None, :], other=0.0)
            dt = dt.to(tl.float32)
        if bias_ptr is not None:
            dt += bias[None, :]
        if SOFTPLUS:
            dt = softplus(dt, exp_of_minus_abs(dt), EXACT)
        drive = dt * u
        y = u * D[None, :] if D_ptr is not None else tl.zeros_like(u)
        if starts_ptr is None:
            h = tl.where(tile == first_tile, 0.0, h)
        for n in tl.static_range(N):
            start = row(h, n_index, n)
            B = tl.load(B_ptr + image * stride_Bb + (p * stride_Bl + n)).to(tl.float32)
            decay = tl.exp2(dt * row(A, n_index, n)[None, :])
            states = states_after(decay, drive * B[:, None], start, t)
            h = with_row(h, n_index, n, row(states, t, BLOCK_T - 1))
            if states_ptr is not None:
                saved = ((image * G + g) * tl.cdiv(T, SAVE_T) + tile * (BLOCK_T // SAVE_T)) * stride_states + n * E
                tl.store(states_ptr + saved + c, start, mask=in_block)
                for j in tl.static_range(1, BLOCK_T // SAVE_T):
                    exists = in_block & (tile * BLOCK_T + j * SAVE_T < T)
                    saved += stride_states
                    tl.store(states_ptr + saved + c, row(states, t, j * SAVE_T - 1), mask=exists)
            if not SUMMARY:
                C = tl.load(C_ptr + image * stride_Bb + (p * stride_Bl + n)).to(tl.float32)
                y += states * C[:, None]
        if SUMMARY:
            sum_dt += tl.sum(dt, 0)
        else:
            tl.store(y_ptr + image * stride_yb + offsets, y.to(y_ptr.dtype.element_ty), mask=inside)
    if SUMMARY:
        in_segments = (first_image * G + g) * segments + segment
        tl.store(sums_ptr + in_segments * E + c, sum_dt, mask=in_block)
        tl.store(ends_ptr + in_segments * N * E + n_index[:, None] * E + c[None, :], h, mask=in_A)


def scan_forward(
    u: Tensor,
    delta: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    routes: Tensor | None,
    states: Tensor | None,
    *,
    reverse: bool,
    softplus: bool,
    A_is_log: bool,
    dtype: torch.dtype,
    config: Config,
) -> Tensor:
    """Outputs of G scans of E channels each, and the states before every SAVED_STEPS-th step if there is room for them.

    Args:
        u: (b, L, E), read by all groups, or (b, L, G * E); contiguous.
        delta: (b, L, G, R), or (b, L, G, E) without ``weight``; unit stride in the last dimension.
        weight: (G, E, R) or None. Expands a low-rank ``delta``.
        bias: (G, E) or None.
        A: (G, E, N), N <= 16.
        B: (b, L, G, N), unit stride in the last dimension.
        C: as B, of the same strides.
        D: (G, E) or None.
        routes: (G, T) int64, or None for all steps in order.
        states: (b, G, ceil(T / SAVED_STEPS), N, E) fp32, written, or None.
        reverse: without routes, whether to start from the last step.
        softplus: whether step sizes pass through softplus.
        A_is_log: whether ``A`` is given as A_log, of which it is ``-exp``.
        dtype: of the result.
        config: how the launch is cut up.

    Parameters are fp32 and contiguous.

    Returns:
        (G, b, L, E) if the groups share ``u``, else as ``u``; 0 at pixels that no step visits.
    """
    shapes = Shapes.of(u, delta, weight, A, B, routes)
    stride_states = 0 if states is None else states.stride(2)
    summarise, scan = _launches(shapes, stride_states, reverse, softplus, A_is_log, config)
    y = output_like(u, shapes, dtype)
    inputs = (u, delta, weight, bias, A, B, C, D, routes)
    starts = None
    if config.segments > 1:
        starts, sums = segment_buffers(A, shapes, config)
        summarise(*inputs, None, y, None, starts, sums)
        chain_segments(starts, sums, A, A_is_log, reverse=False)
    scan(*inputs, starts, y, states, None, None)
    return y


@cached_by_size
def _launches(
    shapes: Shapes, stride_states: int, reverse: bool, softplus: bool, A_is_log: bool, config: Config
) -> tuple[Launch, Launch]:
    """What each segment makes of a state, and the scan."""
    fast = {torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
    arguments, grid = launch_arguments(shapes, reverse, softplus, A_is_log, fast, config)
    outputs = shapes.batch * shapes.length * shapes.row_size
    arguments.update(
        stride_yb=shapes.length * shapes.row_size,
        stride_yg=outputs if shapes.shares_channels else shapes.channels,
        stride_states=stride_states,
        BLOCK_N=next_power_of_2(shapes.d_state),
        SAVE_T=SAVED_STEPS,
    )
    summarise, scan = (Launch(scan_forward_kernel, grid, **arguments, SUMMARY=summary) for summary in (True, False))
    return summarise, scan
