"""Pieces of the Triton scans: elementwise functions, the linear recurrence, and what keeps time inside a lane.

Every tile is (BLOCK_T, BLOCK_C), steps by channels. Triton's default layout gives a lane one channel and all steps of a
tile; a scan over steps then costs one multiply-add a step and no shuffle, and picking or reversing rows is renaming
registers. Matrix products and wide loads would pull the tiles out of that layout; :func:`steps_in_lane` brings them
back.
"""

import triton
from triton import language as tl

from ..backend import INTERPRETS_TRITON

LOG2E = tl.constexpr(1.4426950408889634)
INTERPRETED = tl.constexpr(INTERPRETS_TRITON)


@triton.jit
def exp_of_minus_abs(v):
    return tl.exp2(tl.abs(v) * -LOG2E)


@triton.jit
def softplus(v, e, EXACT: tl.constexpr):
    """log(1 + exp(v)) = max(v, 0) + log1p(e), given e = exp(-|v|).

    log1p(e) / e on [0, 1] by a minimax polynomial: relative error 3e-8 if EXACT, else 6e-5, a 30th of bf16's rounding.
    """
    if EXACT:
        p = 0.00523269635 * e - 0.029505253
        p = p * e + 0.0782259862
        p = p * e - 0.136632499
        p = p * e + 0.191060094
        p = p * e - 0.248429832
        p = p * e + 0.33319097
        p = p * e - 0.499994932
        p = p * e + 0.99999997
    else:
        p = 0.0413473179 * e - 0.157427283
        p = p * e + 0.306301018
        p = p * e - 0.496977839
        p = p * e + 0.999943281
    return tl.maximum(v, 0.0) + e * p


@triton.jit
def sigmoid(v, e):
    """1 / (1 + exp(-v)), given e = exp(-|v|). The root of a reciprocal is one instruction, a division several."""
    root = tl.rsqrt(1.0 + e)
    return tl.where(v > 0.0, 1.0, e) * root * root


@triton.jit
def slope_of_softplus(dt):
    """sigmoid(v) from ``dt = softplus(v)``: 1 - exp(-dt), by its series where that would cancel."""
    series = dt * (1 - dt / 2 * (1 - dt / 3 * (1 - dt / 4 * (1 - dt / 5 * (1 - dt / 6)))))
    return tl.where(dt < 0.25, series, 1.0 - tl.exp2(dt * -LOG2E))


@triton.jit
def _second(a, b):
    return b


@triton.jit
def steps_in_lane(x):
    """``x``, in the default layout: a scan, here one that changes nothing, is never moved to another layout."""
    if INTERPRETED:  # no layouts, and scans are slow
        return x
    return tl.associative_scan(x, 0, _second)


@triton.jit
def decay_rate(A, A_IS_LOG: tl.constexpr):
    """A as it is, or from its parameter ``A_log``."""
    return -tl.exp2(A * LOG2E) if A_IS_LOG else A


@triton.jit
def row(x, index, j):
    """Row ``j`` of ``x``, given ``index``, an arange over the rows. Adding -0.0 changes nothing, so all of it folds."""
    return tl.sum(tl.where(index[:, None] == j, x, -0.0), 0)


@triton.jit
def with_row(x, index, j, value):
    return tl.where(index[:, None] == j, value[None, :], x)


@triton.jit
def _advance(a1, b1, a2, b2):
    return a1 * a2, a2 * b1 + b2


@triton.jit
def states_after(decay, drive, start, t):
    """``h_t = decay_t h_{t-1} + drive_t`` for all steps of a tile, with h = start before them."""
    drive = tl.where(t[:, None] == 0, decay * start[None, :] + drive, drive)
    return tl.associative_scan((decay, drive), 0, _advance)[1]


# An affine map from the state before a run of steps to the state before its last step, and that last step itself.
@triton.jit
def _advance_before(p1, q1, decay1, drive1, p2, q2, decay2, drive2):
    return p2 * decay1 * p1, q2 + p2 * (decay1 * q1 + drive1), decay2, drive2


@triton.jit
def states_before(decay, drive, start, t):
    """``h_{t-1}`` for all steps of a tile: exact where ``(h_t - drive_t) / decay_t`` would cancel."""
    first = tl.where(t[:, None] == 0, start[None, :], tl.full(decay.shape, -0.0, tl.float32))
    return tl.associative_scan((tl.full(decay.shape, 1.0, tl.float32), first, decay, drive), 0, _advance_before)[1]


@triton.jit
def _retreat(p1, q1, decay1, p2, q2, decay2):
    return p2 * decay1 * p1, q2 + p2 * (decay1 * q1), decay2


@triton.jit
def grads_of_states(decay, grad, carry, t, BLOCK_T: tl.constexpr):
    """``g_t = grad_t + decay_{t+1} g_{t+1}``; ``carry`` comes from the step behind the tile, decay included."""
    grad = tl.where(t[:, None] == BLOCK_T - 1, grad + carry[None, :], grad)
    one = tl.full(decay.shape, 1.0, tl.float32)
    return tl.flip(tl.associative_scan((one, tl.flip(grad, 0), tl.flip(decay, 0)), 0, _retreat)[1], 0)
