"""Backward selective scan in Triton: the programs of the forward pass, walking their routes from the end.

States inside a tile are recomputed from the state before it, which the forward pass saved. Sums over channels (for the
low-rank step sizes, B and C) are matrix products with the tile; each block of channels, image group and segment writes
its own share of a sum and the launcher adds them up: no atomics, the same result on every run.

Layout: see :func:`.triton_forward.scan_forward`.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv, next_power_of_2
from .triton_launch import Config, Shapes, launch_arguments, output_like, pixels, segment_buffers
from .triton_math import (
    LOG2E,
    decay_rate,
    exp_of_minus_abs,
    grads_of_states,
    row,
    sigmoid,
    slope_of_softplus,
    softplus,
    states_before,
    steps_in_lane,
)
from .triton_segments import chain_segments


@triton.jit
def grads_of_a_state(dt, dy, A, C, carry, t, BLOCK_T: tl.constexpr):
    """The gradient of one state at each step of a tile, its decay, and what the step before the tile gets."""
    decay = tl.exp2(dt * (A * LOG2E)[None, :])
    grad = grads_of_states(decay, dy * C[:, None], carry, t, BLOCK_T)
    return grad, decay, row(decay * grad, t, 0)


@triton.jit
def through_a_state(grad, decay, dt, u, dy, B, start, t):
    """What one state gives, by channel, to dB and dC, to the step size by way of A, and to ``dt * u``."""
    drive = dt * u * B[:, None]
    kept = decay * states_before(decay, drive, start, t)
    return grad * dt * u, dy * (kept + drive), kept * grad, grad * B[:, None]


@triton.jit
def with_column(rows, x, column, columns, DOT: tl.constexpr):
    """``rows`` with the sums of ``x`` over channels in one column, by the matrix units: shuffles take longer."""
    sums = tl.dot(x.to(DOT), tl.full((x.shape[1], rows.shape[1]), 1.0, DOT), input_precision='tf32x3')
    return tl.where(columns[None, :] == column, sums, rows)


@triton.jit
def scan_backward_kernel(
    dy_ptr,
    u_ptr,
    delta_ptr,
    weight_ptr,
    bias_ptr,
    A_ptr,
    B_ptr,
    C_ptr,
    D_ptr,
    routes_ptr,
    states_ptr,
    carry_ptr,
    sums_ptr,
    du_ptr,
    ddelta_ptr,
    dweight_ptr,
    dbias_ptr,
    dA_ptr,
    dB_ptr,
    dD_ptr,
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
    stride_dyg,
    stride_dub,
    stride_dug,
    stride_deltab,
    stride_deltal,
    stride_deltag,
    stride_Bb,
    stride_Bl,
    stride_Bg,
    stride_ddeltap,
    stride_ddeltab,
    stride_ddeltal,
    stride_ddeltag,
    stride_dBp,
    stride_dBb,
    stride_dBl,
    stride_dBg,
    stride_states,
    stride_share,
    R: tl.constexpr,
    N: tl.constexpr,
    REVERSE: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    A_IS_LOG: tl.constexpr,
    EXACT: tl.constexpr,
    DOT: tl.constexpr,
    SUMMARY: tl.constexpr,
    STARTED: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_C: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_2N: tl.constexpr,
    VECTOR: tl.constexpr,
):
    pid = tl.program_id(0)
    blocks = tl.cdiv(E, BLOCK_C)
    block = (pid % blocks).to(tl.int64)
    c = tl.multiple_of(pid % blocks * BLOCK_C + tl.arange(0, BLOCK_C), VECTOR)
    g = (pid // blocks % G).to(tl.int64)
    segment = pid // (blocks * G) % segments
    image_group = (pid // (blocks * G * segments)).to(tl.int64)
    first_image = image_group * images
    t, r, columns = tl.arange(0, BLOCK_T), tl.arange(0, BLOCK_R), tl.arange(0, BLOCK_2N)
    # Tiles of one shape get one layout, of the widest access among them: it has to be that of the channels.
    if BLOCK_2N == BLOCK_C:
        columns = tl.multiple_of(columns, VECTOR)
    route_tiles = tl.cdiv(T, BLOCK_T)
    first_tile = segment * segment_tiles
    tiles = tl.minimum(route_tiles - first_tile, segment_tiles)
    last_tile = first_tile + tiles - 1
    total = tl.minimum(batch - first_image, images).to(tl.int32) * tiles

    in_block = c < E
    channel = g * E + c
    A_ptr += g * N * E + c
    if bias_ptr is not None:
        bias = tl.load(bias_ptr + channel, mask=in_block, other=0.0)
    if D_ptr is not None:
        D = tl.load(D_ptr + channel, mask=in_block, other=0.0)
    if R > 0:
        in_weight = in_block[None, :] & (r < R)[:, None]
        weight = tl.load(weight_ptr + channel[None, :] * R + r[:, None], mask=in_weight, other=0.0)
        weight = weight.to(DOT)
        transposed_weight = tl.trans(weight)
        dweight = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    u_ptr += g * stride_ug
    dy_ptr += g * stride_dyg
    delta_ptr += g * stride_deltag
    B_ptr += g * stride_Bg
    C_ptr += g * stride_Bg
    if routes_ptr is not None:
        routes_ptr += g * T
    if not SUMMARY:
        du_ptr += g * stride_dug
        ddelta_ptr += g * stride_ddeltag + block * stride_ddeltap
        dB_ptr += g * stride_dBg + block * stride_dBp
        share = (image_group * segments + segment) * stride_share
        dA_ptr += share + g * N * E + c

    # One state stays in registers. More, with their A and the sums of its gradient, wait in memory that only this
    # program reads and writes: registers would spill.
    in_segments = ((image_group * G + g) * segments + segment) * E
    carry_ptr += in_segments * N + c
    if N == 1:
        A = decay_rate(tl.load(A_ptr, mask=in_block, other=0.0), A_IS_LOG)
        A = row(steps_in_lane(A[None, :]), tl.arange(0, 1), 0)
        carry = tl.zeros((BLOCK_C,), tl.float32)
        if STARTED:
            carry = row(steps_in_lane(tl.load(carry_ptr, mask=in_block, other=0.0)[None, :]), tl.arange(0, 1), 0)
        dA = tl.zeros((BLOCK_C,), tl.float32)
    dD = tl.zeros((BLOCK_C,), tl.float32)
    dbias = tl.zeros((BLOCK_C,), tl.float32)
    sum_dt = tl.zeros((BLOCK_C,), tl.float32)
    for i in range(total):
        image, tile = first_image + i // tiles, last_tile - i % tiles
        p, valid = pixels(routes_ptr, tile * BLOCK_T + t, T, REVERSE, WIDE)
        inside = valid[:, None] & in_block[None, :]
        offsets = p[:, None] * stride_row + c[None, :]
        u = tl.load(u_ptr + image * stride_ub + offsets, mask=in_block[None, :], other=0.0).to(tl.float32)
        dy = tl.load(dy_ptr + image * stride_ub + offsets, mask=inside, other=0.0).to(tl.float32)
        if R > 0:
            low_offsets = p[:, None] * stride_deltal + r[None, :]
            low = tl.load(delta_ptr + image * stride_deltab + low_offsets, mask=(r < R)[None, :], other=0.0).to(DOT)
            v = steps_in_lane(tl.dot(low, weight, input_precision='tf32x3'))
        else:
            delta_offsets = p[:, None] * stride_deltal + c[None, :]
            v = tl.load(delta_ptr + image * stride_deltab + delta_offsets, mask=in_block[None, :], other=0.0)
            v = v.to(tl.float32)
        if bias_ptr is not None:
            v += bias[None, :]
        if SOFTPLUS:
            e = exp_of_minus_abs(v)
            dt = softplus(v, e, EXACT)
            if N == 1:
                slope = sigmoid(v, e)
        else:
            dt = v
        driven = tl.zeros_like(u)
        ddt = tl.zeros_like(u)
        start_ptr = states_ptr + ((image * G + g) * route_tiles + tile) * stride_states + c
        B_at, C_at, rows = B_ptr + image * stride_Bb, C_ptr + image * stride_Bb, p * stride_Bl
        if N == 1:
            C = tl.load(C_at + rows).to(tl.float32)
            if not STARTED:
                carry = tl.where(tile == last_tile, 0.0, carry)
            grad, decay, carry = grads_of_a_state(dt, dy, A, C, carry, t, BLOCK_T)
            if not SUMMARY:
                B = tl.load(B_at + rows).to(tl.float32)
                start = tl.load(start_ptr, mask=in_block, other=0.0)
                dB, dC, kept, driven = through_a_state(grad, decay, dt, u, dy, B, start, t)
                ddt += kept * A[None, :]
                dA += tl.sum(kept * dt, 0)
                if R == 0:
                    drow = tl.zeros((BLOCK_T, BLOCK_2N), tl.float32)
                    drow = with_column(with_column(drow, dB, 0, columns, DOT), dC, 1, columns, DOT)
        else:
            drow = tl.zeros((BLOCK_T, BLOCK_2N), tl.float32)
            for n in range(N):  # not unrolled: compiles as fast as one state, and spills less
                # Loads come before stores, which may be to the same memory for all the compiler knows.
                A = decay_rate(tl.load(A_ptr + n * E, mask=in_block, other=0.0), A_IS_LOG)
                carry = tl.load(carry_ptr + n * E, mask=in_block, other=0.0)
                C = tl.load(C_at + (rows + n)).to(tl.float32)
                if not SUMMARY:
                    B = tl.load(B_at + (rows + n)).to(tl.float32)
                    start = tl.load(start_ptr + n * E, mask=in_block, other=0.0)
                    dA = tl.load(dA_ptr + n * E, mask=in_block & (i > 0), other=0.0)
                if not STARTED:
                    carry = tl.where(tile == last_tile, 0.0, carry)
                grad, decay, carry = grads_of_a_state(dt, dy, A, C, carry, t, BLOCK_T)
                tl.store(carry_ptr + n * E, carry, mask=in_block)
                if not SUMMARY:
                    dB, dC, kept, driven_n = through_a_state(grad, decay, dt, u, dy, B, start, t)
                    driven += driven_n
                    ddt += kept * A[None, :]
                    dA_of_tile = tl.sum(kept * dt, 0)
                    tl.store(dA_ptr + n * E, dA + (dA_of_tile * A if A_IS_LOG else dA_of_tile), mask=in_block)
                    drow = with_column(with_column(drow, dB, n, columns, DOT), dC, N + n, columns, DOT)
        if SUMMARY:
            sum_dt += tl.sum(dt, 0)
        else:
            du = driven * dt
            if D_ptr is not None:
                du += dy * D[None, :]
                dD += tl.sum(dy * u, 0)
            tl.store(du_ptr + image * stride_dub + offsets, du.to(du_ptr.dtype.element_ty), mask=inside)
            ddt += driven * u
            if SOFTPLUS:
                ddt *= slope if N == 1 else slope_of_softplus(dt)
            if bias_ptr is not None:
                dbias += tl.sum(ddt, 0)
            if R > 0:
                ddelta = ddt.to(DOT)
                dweight = tl.dot(tl.trans(low), ddelta, dweight, input_precision='tf32x3')
                dlow = tl.dot(ddelta, transposed_weight, input_precision='tf32x3')
                if N == 1:  # dB and dC become two further columns of the same row
                    dlow = with_column(with_column(dlow, dB, R, r, DOT), dC, R + 1, r, DOT)
                width: tl.constexpr = R + 2 if N == 1 else R
                out = ddelta_ptr + image * stride_ddeltab + (p[:, None] * stride_ddeltal + r[None, :])
                tl.store(out, dlow.to(ddelta_ptr.dtype.element_ty), mask=valid[:, None] & (r < width)[None, :])
            else:
                out = ddelta_ptr + image * stride_ddeltab + (p[:, None] * stride_ddeltal + c[None, :])
                tl.store(out, ddt.to(ddelta_ptr.dtype.element_ty), mask=inside)
            if R == 0 or N > 1:  # dB and dC lie side by side
                out = dB_ptr + image * stride_dBb + (p[:, None] * stride_dBl + columns[None, :])
                tl.store(out, drow.to(dB_ptr.dtype.element_ty), mask=valid[:, None] & (columns < 2 * N)[None, :])
    if SUMMARY:
        tl.store(sums_ptr + in_segments + c, sum_dt, mask=in_block)
        if N == 1:
            tl.store(carry_ptr, carry, mask=in_block)
    else:
        if N == 1:
            tl.store(dA_ptr, dA * A if A_IS_LOG else dA, mask=in_block)
        if D_ptr is not None:
            tl.store(dD_ptr + share + channel, dD, mask=in_block)
        if bias_ptr is not None:
            tl.store(dbias_ptr + share + channel, dbias, mask=in_block)
        if R > 0:
            tl.store(dweight_ptr + share + (channel[None, :] * R + r[:, None]), dweight, mask=in_weight)


@triton.jit
def add_rows_kernel(rows_ptr, out_ptr, blocks, M, G, W, size, WIDE: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64 if WIDE else tl.int32) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    row = i // W
    rows_ptr += (row % G * M + row // G) * W + i % W
    total = tl.zeros((BLOCK,), tl.float32)
    for _ in range(blocks):
        total += tl.load(rows_ptr, mask=inside, other=0.0).to(tl.float32)
        rows_ptr += size
    tl.store(out_ptr + i, total.to(out_ptr.dtype.element_ty), mask=inside)


@cached_by_size
def _add_rows_launch(blocks: int, groups: int, pixels: int, width: int) -> Launch:
    """(blocks, G, pixels, width) to (pixels, G, width): the sum over the blocks of channels, in fp32."""
    size = pixels * groups * width
    sizes = dict(blocks=blocks, M=pixels, G=groups, W=width, size=size, WIDE=size + 1024 >= 2**31)
    return Launch(add_rows_kernel, (cdiv(size, 1024),), **sizes, BLOCK=1024)


def scan_backward(
    dy: Tensor,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    routes: Tensor | None,
    *,
    reverse: bool,
    softplus: bool,
    A_is_log: bool,
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
    config: Config,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """Gradients for ``dy``, of the shape of ``u`` or, where the groups share that, of the forward pass's ``y`` as well.

    The other arguments are as in :func:`.triton_forward.scan_forward`.

    ``dtypes`` are those of the gradients of ``u``, of full ``delta`` and of the rest that has a batch.

    Returns:
        Gradients of u, in the shape of the forward pass's ``y``; of full delta, or None; of low-rank delta, B and C,
        side by side in one tensor (b, L, G, R + 2N); of the parameters, fp32, in shares (shares, size) that are to be
        added and cut by :func:`cut_parameters`.
    """
    shapes = Shapes.of(u, delta, weight, A, B, routes)
    batch, length, _, groups, channels, d_state, _, rank, *_ = shapes
    blocks, parts = cdiv(channels, config.BLOCK_C), cdiv(batch, config.images) * config.segments
    A_by_state = A.transpose(1, 2).contiguous()  # neighbouring channels are neighbouring lanes
    # Gradients of the parameters lie in one row for each part, so that one sum adds the parts of all of them.
    sizes = [0 if p is None else p.numel() for p in (A, weight, bias, D)]
    shares = A.new_empty(parts, sum(sizes))
    summarise, scan = _launches(
        shapes, states.stride(2), dy.dim() > u.dim(), sum(sizes), reverse, softplus, A_is_log, config
    )
    du = output_like(u, shapes, dtypes[0])
    # Group by group: the rows of one route lie side by side, and its programs fill whole sectors of memory.
    new = u.new_empty if shapes.steps == length else u.new_zeros
    rows = new(blocks, groups, batch, length, rank + 2 * d_state, dtype=dtypes[2])
    dB = rows.narrow(-1, rank, 2 * d_state)
    full = None if rank else output_like(u, shapes, dtypes[1])
    dA, dweight, dbias, dD = _split(shares, sizes)
    inputs = (dy, u, delta, weight, bias, A_by_state, B, C, D, routes, states)
    outputs = (du, rows if rank else full, dweight, dbias, dA, dB, dD)
    if config.segments > 1:
        carries, sums = segment_buffers(A, shapes, config)
        summarise(*inputs, carries, sums, *[None] * len(outputs))
        chain_segments(carries, sums, A, A_is_log, reverse=True)
    else:
        carries = A.new_empty(parts, *A_by_state.shape)
    scan(*inputs, carries, None, *outputs)
    drows = u.new_empty(batch, length, groups, rank + 2 * d_state, dtype=dtypes[2])
    _add_rows_launch(blocks, groups, batch * length, rank + 2 * d_state)(rows, drows)
    return du, full, drows, shares


def cut_parameters(
    sums: Tensor, A: Tensor, weight: Tensor | None, bias: Tensor | None, D: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """Gradients of the four from the sum of their shares; None where there is no such parameter."""
    dA, *rest = _split(sums, [0 if p is None else p.numel() for p in (A, weight, bias, D)])
    rest = [None if p is None else piece.view_as(p) for p, piece in zip((weight, bias, D), rest, strict=True)]
    return by_channel(dA, A), *rest


def by_channel(dA: Tensor, A: Tensor) -> Tensor:
    """A gradient of A, of any shape but in the order (G, N, E), as (G, E, N)."""
    groups, channels, d_state = A.shape
    return dA.view_as(A) if d_state == 1 else dA.view(groups, d_state, channels).transpose(1, 2)


@cached_by_size
def _launches(
    shapes: Shapes,
    stride_states: int,
    dy_by_group: bool,
    stride_share: int,
    reverse: bool,
    softplus: bool,
    A_is_log: bool,
    config: Config,
) -> tuple[Launch, Launch]:
    """What each segment makes of a gradient of a state, and the scan."""
    fast = {torch.bfloat16: tl.bfloat16}  # fp16 has too little range for gradients
    arguments, grid = launch_arguments(shapes, reverse, softplus, A_is_log, fast, config)
    batch, length, row_size, groups, channels, d_state, _, rank, *_ = shapes
    values, width = batch * length * row_size, rank + 2 * d_state
    rows = dict(p=groups * batch * length * width, b=length * width, l=width, g=batch * length * width)
    # Every block of channels has its own rows, but a part of one full gradient of the step sizes.
    delta = rows if rank else dict(p=0, b=length * row_size, l=row_size, g=channels)
    arguments.update(
        stride_dyg=values if dy_by_group else arguments['stride_ug'],
        stride_dub=length * row_size,
        stride_dug=values if shapes.shares_channels else channels,
        stride_states=stride_states,
        stride_share=stride_share,
        BLOCK_2N=max(16, next_power_of_2(2 * d_state)),
        **{f'stride_ddelta{axis}': stride for axis, stride in delta.items()},
        **{f'stride_dB{axis}': stride for axis, stride in rows.items()},
    )
    summarise = Launch(scan_backward_kernel, grid, **arguments, SUMMARY=True, STARTED=False)
    return summarise, Launch(scan_backward_kernel, grid, **arguments, SUMMARY=False, STARTED=config.segments > 1)


def _split(rows: Tensor, sizes: list[int]) -> list[Tensor | None]:
    """(..., total) cut into pieces, one after the other; None for those of size 0."""
    return [piece if size else None for piece, size in zip(rows.split_with_sizes(sizes, -1), sizes, strict=True)]
