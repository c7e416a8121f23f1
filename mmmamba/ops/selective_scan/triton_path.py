"""Selective scans on CUDA, by Triton: chooses how launches are cut up and cuts large states into slices.

Arguments as in :func:`.triton_forward.scan_forward`, of any dtype but fp64.
"""

import torch
from torch import Tensor

from ..launch import cached_by_size
from ..sizes import cdiv
from .triton_backward import cut_parameters, scan_backward
from .triton_forward import scan_forward
from .triton_launch import SAVED_STEPS, Config, Shapes

# States of one launch; a larger d_state takes several, whose outputs are summed. The forward kernel unrolls them.
_STATE_SLICE = 16

# Programs that fill an H100 or H200 (132 SMs, 8 to 12 warps each at the kernels' register counts).
_FULL_CHIP = 132 * 12


def forward(
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
    reverse: bool = False,
    softplus: bool = True,
    A_is_log: bool = False,
    save_states: bool,
) -> tuple[Tensor, Tensor]:
    """Outputs in the dtype of ``u``, and the saved states (b, G, tiles, N, E), empty if not asked for."""
    u, delta, weight, bias, A, B, C, D, routes = _ready(u, delta, weight, bias, A, B, C, D, routes)
    shapes = Shapes.of(u, delta, weight, A, B, routes)
    states = A.new_empty(*states_shape(u, A, routes)) if save_states else A.new_empty(0)
    config = _forward_config(shapes)
    options = dict(reverse=reverse, softplus=softplus, A_is_log=A_is_log, config=config)
    if shapes.d_state <= _STATE_SLICE:
        kept = states if save_states else None
        return scan_forward(u, delta, weight, bias, A, B, C, D, routes, kept, dtype=u.dtype, **options), states
    ys = []
    for n in _slices(shapes.d_state):
        state = (A[..., n].contiguous(), B[..., n], C[..., n], D if n.start == 0 else None)
        kept = states[..., n, :] if save_states else None
        ys.append(scan_forward(u, delta, weight, bias, *state, routes, kept, dtype=torch.float32, **options))
    return sum(ys[1:], ys[0]).to(u.dtype), states


def backward(
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
    reverse: bool = False,
    softplus: bool = True,
    A_is_log: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
    """As :func:`.triton_backward.scan_backward`, ``dy`` in any dtype; ``states`` may be empty and is computed then."""
    arguments = _ready(u, delta, weight, bias, A, B, C, D, routes)
    if states.numel() == 0:
        states = forward(*arguments, reverse=reverse, softplus=softplus, A_is_log=A_is_log, save_states=True)[1]
    u, delta, weight, bias, A, B, C, D, routes = arguments
    dy = _in_dtype(dy, u.dtype).contiguous()
    shapes = Shapes.of(u, delta, weight, A, B, routes)
    rank, config = shapes.rank, _backward_config(shapes)
    options = dict(reverse=reverse, softplus=softplus, A_is_log=A_is_log, config=config)
    if shapes.d_state <= _STATE_SLICE:
        return scan_backward(dy, states, *arguments, dtypes=(u.dtype, delta.dtype, B.dtype), **options)
    parts = []
    for n in _slices(shapes.d_state):
        state = (A[..., n].contiguous(), B[..., n], C[..., n], D if n.start == 0 else None)
        inputs = (dy, states[..., n, :], u, delta, weight, bias, *state, routes)
        *grads, shares = scan_backward(*inputs, dtypes=(torch.float32,) * 3, **options)
        parts.append((*grads, *cut_parameters(shares.sum(0), state[0], weight, bias, state[3])))
    du, ddelta, rows, dA, dweight, dbias, dD = zip(*parts, strict=True)
    widths = [(part[..., :rank], *part[..., rank:].chunk(2, dim=-1)) for part in rows]
    dlow, dB, dC = zip(*widths, strict=True)
    rows = torch.cat([sum(dlow), *dB, *dC], dim=-1).to(B.dtype)
    total = (None if part[0] is None else sum(part) for part in (du, ddelta, dweight, dbias))
    du, ddelta, dweight, dbias = total
    ddelta = None if ddelta is None else ddelta.to(delta.dtype)
    dA = torch.cat(dA, dim=-1).transpose(1, 2)  # neighbouring channels side by side, as of a single launch
    shares = torch.cat([p.flatten() for p in (dA, dweight, dbias, dD[0]) if p is not None])[None]
    return du.to(u.dtype), ddelta, rows, shares


def states_shape(u: Tensor, A: Tensor, routes: Tensor | None) -> tuple[int, int, int, int, int]:
    """Of the states that the forward pass saves for the backward pass: (b, G, tiles, N, E)."""
    groups, channels, d_state = A.shape
    steps = u.shape[1] if routes is None else routes.shape[1]
    return u.shape[0], groups, cdiv(steps, SAVED_STEPS), d_state, channels


def _ready(u, delta, weight, bias, A, B, C, D, routes):
    """The tensors as the kernels want them: contiguous u, fp32 parameters, B and C of one dtype and stride."""
    weight, bias, A, D = [p if p is None else _in_dtype(p, torch.float32).contiguous() for p in (weight, bias, A, D)]
    delta = delta if delta.stride(-1) == 1 else delta.contiguous()
    if B.dtype != C.dtype or B.stride() != C.stride() or B.stride(-1) != 1:
        dtype = torch.promote_types(B.dtype, C.dtype)
        B, C = B.to(dtype).contiguous(), C.to(dtype).contiguous()
    return u.contiguous(), delta, weight, bias, A, B, C, D, routes if routes is None else routes.contiguous()


def _in_dtype(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x if x.dtype == dtype else x.to(dtype)  # ``to`` takes a microsecond to do nothing


def _slices(d_state: int) -> list[slice]:
    return [slice(n, min(n + _STATE_SLICE, d_state)) for n in range(0, d_state, _STATE_SLICE)]


@cached_by_size
def _forward_config(shapes: Shapes) -> Config:
    # ms on one H100, bf16, batch 128, d_state 1, 2026-11-25, tiles of 32 x 32 / 16 x 64 / 32 x 64 steps x channels:
    # E 96 (56 x 56 map) 0.39 / 0.48 / 0.41, E 192 (28 x 28) 0.20 / 0.16 / 0.20, E 384 (14 x 14) 0.14 / 0.13 / 0.10,
    # E 768 (7 x 7) 0.12 / 0.09 / 0.08. With more states a lane has no registers for a second channel.
    if shapes.d_state > 1 or shapes.channels % 64:
        return _cut(shapes, 32, 32)
    return _cut(shapes, 16 if shapes.channels < 384 else 32, 64)


@cached_by_size
def _backward_config(shapes: Shapes) -> Config:
    # ms on one H100, bf16, 32 channels and one warp / 64 and two. d_state 1, batch 128, 2026-11-25: E 96 1.42 / 1.54,
    # E 192 0.57 / 0.58, E 384 0.54 / 0.46, E 768 0.49 / 0.41. d_state 16, 2026-11-26: E 96 of 4 groups and 3136 steps
    # 6.7 / 7.8, E 384 of one group and 197 steps (Vim-S) 0.27 / 0.28. Two channels a lane or 32 steps spill registers.
    wide = shapes.d_state == 1 and shapes.channels >= 384 and shapes.channels % 64 == 0
    return _cut(shapes, SAVED_STEPS, 64 if wide else 32, 2 if wide else 1)


def _cut(shapes: Shapes, block_t: int, block_c: int, num_warps: int = 1) -> Config:
    programs = shapes.batch * shapes.groups * cdiv(shapes.channels, block_c)
    # Cut routes into segments where half the chip would idle, into no less than 8 tiles: segments cost a second pass.
    segments = 1
    if 2 * programs <= _FULL_CHIP:
        tiles = cdiv(shapes.steps, block_t)
        segments = max(1, min(_FULL_CHIP // programs, tiles // 8))
        segments = cdiv(tiles, cdiv(tiles, segments))  # none without a tile: its program would write nothing
    images = 1 if segments > 1 else min(8, max(1, programs // _FULL_CHIP))
    return Config(block_t, block_c, num_warps, images, segments)
