"""Selective scan on the CPU, compiled by numba: threads over batch x group x channel block, SIMD over the channels.

A unit of work walks one route over the pixels and keeps the states of one block of channels in cache; every step
reads and writes one contiguous run of channels, so no permuted copy exists. The backward pass keeps the states at the
start of each chunk of steps and recomputes those inside it. Units run on Python threads with the GIL released: no
second OpenMP runtime beside PyTorch's, and nothing that a fork breaks.

Layout: ``u (b, L, 1 or G, E)``, ``delta (b, L, G, E)``, ``B, C (b, L, G, N)``, ``A (G, E, N)``, ``D, bias (G, E)``,
``routes (G, T)``: the pixel each group visits at step t. All fp32 or all fp64, contiguous.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numba import njit
from torch import Tensor

from .numba_math import exp, logistic, softplus

# 4 AVX2 or 2 AVX-512 vectors of fp32 a state row; 16 x 64 states stay in L1. Chosen on 2 cores of a Xeon, 2026-11-24.
_CHANNEL_BLOCK = 128
# Steps recomputed at a time in the backward pass.
_CHUNK = 64

# Sums may be reordered so that they vectorise; NaN and Inf keep their meaning.
_JIT = {'nogil': True, 'cache': True, 'fastmath': {'reassoc', 'contract', 'nsz'}, 'error_model': 'numpy'}


def scan_forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    routes: Tensor,
    softplus: bool,
) -> Tensor:
    """Outputs ``C_t h_t + D u_t`` (b, L, G, E) of every group's scan; pixels that a route leaves out stay 0."""
    arrays = _arrays(u, delta, A, B, C, D, bias)
    covers_map = routes.shape[1] == delta.shape[1]
    y = torch.empty_like(delta) if covers_map else torch.zeros_like(delta)
    _run(_forward_units, _unit_count(delta), (*arrays, routes.numpy(), softplus, y.numpy()))
    return y


def scan_backward(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    bias: Tensor | None,
    routes: Tensor,
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D, bias for ``dy`` (b, L, 1 or G, E); those of u stay per group, (b, L, G, E)."""
    arrays = _arrays(u, delta, A, B, C, D, bias)
    b, _, groups, channels = delta.shape
    blocks = -(-channels // _CHANNEL_BLOCK)
    covers_map = routes.shape[1] == delta.shape[1]
    new = torch.empty if covers_map else torch.zeros
    du, ddelta = new(delta.shape, dtype=delta.dtype), new(delta.shape, dtype=delta.dtype)
    # Each unit writes its own share of a sum over channels or over the batch: no races, the same result on every run.
    dB, dC = new((blocks, *B.shape), dtype=B.dtype), new((blocks, *C.shape), dtype=C.dtype)
    dA = torch.empty((b, groups, A.shape[2], channels), dtype=A.dtype)  # state-major, like the kernel's A
    dD, dbias = torch.empty((b, groups, channels), dtype=A.dtype), torch.empty((b, groups, channels), dtype=A.dtype)
    outputs = tuple(t.numpy() for t in (du, ddelta, dA, dB, dC, dD, dbias))
    _run(_backward_units, _unit_count(delta), (dy.contiguous().numpy(), *arrays, routes.numpy(), softplus, *outputs))
    return du, ddelta, dA.sum(0).transpose(1, 2), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0)


def _arrays(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None
) -> tuple[np.ndarray, ...]:
    D = A.new_zeros(A.shape[:2]) if D is None else D
    bias = A.new_zeros(A.shape[:2]) if bias is None else bias
    # State-major A: the kernels read A[g, n, channels] as one run.
    return tuple(t.contiguous().numpy() for t in (u, delta, A.transpose(1, 2), B, C, D, bias))


def _unit_count(delta: Tensor) -> int:
    b, _, groups, channels = delta.shape
    return b * groups * -(-channels // _CHANNEL_BLOCK)


_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _drop_pool() -> None:
    """A forked child has the parent's pool object but none of its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_drop_pool)


def _run(kernel: Callable, units: int, arguments: tuple) -> None:
    """Call ``kernel(start, stop, *arguments)`` over all units, one share for each of ``torch.get_num_threads()``."""
    global _pool, _pool_size
    threads = min(torch.get_num_threads(), units)
    if threads == 1:
        kernel(0, units, *arguments)
        return
    if _pool is None or _pool_size < threads - 1:
        _pool, _pool_size = ThreadPoolExecutor(threads - 1, thread_name_prefix='mmmamba-scan'), threads - 1
    bounds = [units * i // threads for i in range(threads + 1)]
    futures = [_pool.submit(kernel, bounds[i], bounds[i + 1], *arguments) for i in range(1, threads)]
    try:
        kernel(bounds[0], bounds[1], *arguments)
    finally:
        for future in futures:
            future.result()


# Row operations. Each writes one row of channels and reads few others: LLVM then checks at run time that rows do not
# overlap, and vectorises. Scratch rows are a full block wide; the row that bounds the loop is a slice of a tensor or,
# where all rows are scratch, a full block whose idle lanes stay finite.


@njit(**_JIT)
def _step_sizes(delta, shift, with_softplus, dt):
    if with_softplus:
        for c in range(delta.size):
            dt[c] = softplus(delta[c] + shift[c])
    else:
        for c in range(delta.size):
            dt[c] = delta[c] + shift[c]


@njit(**_JIT)
def _through_softplus(delta, shift, grad):
    for c in range(delta.size):
        grad[c] *= logistic(delta[c] + shift[c])


@njit(**_JIT)
def _advance(dt, A, drive, B, state):
    for c in range(A.size):
        state[c] = exp(dt[c] * A[c]) * state[c] + drive[c] * B


@njit(**_JIT)
def _decay(dt, A, decay):
    for c in range(A.size):
        decay[c] = exp(dt[c] * A[c])


@njit(**_JIT)
def _next_state(decay, state, drive, B, after):
    for c in range(decay.size):
        after[c] = decay[c] * state[c] + drive[c] * B


@njit(**_JIT)
def _scale(factor, row):
    for c in range(factor.size):
        row[c] *= factor[c]


@njit(**_JIT)
def _multiply(a, b, out):
    for c in range(a.size):
        out[c] = a[c] * b[c]


@njit(**_JIT)
def _add_product(a, b, total):
    for c in range(total.size):
        total[c] += a[c] * b[c]


@njit(**_JIT)
def _add_scaled(factor, row, total):
    for c in range(row.size):
        total[c] += factor * row[c]


@njit(**_JIT)
def _dot(a, b):
    total = a[0] * b[0]
    for c in range(1, a.size):
        total += a[c] * b[c]
    return total


@njit(**_JIT)
def _dot3(a, b, c):
    total = a[0] * b[0] * c[0]
    for k in range(1, a.size):
        total += a[k] * b[k] * c[k]
    return total


@njit(**_JIT)
def _forward_units(start, stop, u, delta, A, B, C, D, bias, routes, with_softplus, y):
    groups, channels, d_state = delta.shape[2], delta.shape[3], A.shape[1]
    blocks = -(-channels // _CHANNEL_BLOCK)
    state = np.zeros((d_state, _CHANNEL_BLOCK), u.dtype)
    dt = np.zeros(_CHANNEL_BLOCK, u.dtype)
    drive = np.zeros(_CHANNEL_BLOCK, u.dtype)
    for unit in range(start, stop):
        i, g = unit // (groups * blocks), unit // blocks % groups
        first = unit % blocks * _CHANNEL_BLOCK
        last = min(first + _CHANNEL_BLOCK, channels)
        size = last - first
        gu = g if u.shape[2] > 1 else 0
        state[:] = 0
        for t in range(routes.shape[1]):
            p = routes[g, t]
            x, out = u[i, p, gu, first:last], y[i, p, g, first:last]
            _step_sizes(delta[i, p, g, first:last], bias[g, first:last], with_softplus, dt)
            _multiply(x, dt, drive)
            _multiply(x, D[g, first:last], out)
            for n in range(d_state):
                _advance(dt, A[g, n, first:last], drive, B[i, p, g, n], state[n])
                _add_scaled(C[i, p, g, n], state[n, :size], out)


@njit(**_JIT)
def _backward_units(
    start, stop, dy, u, delta, A, B, C, D, bias, routes, with_softplus, du, ddelta, dA, dB, dC, dD, dbias
):
    groups, channels, d_state = delta.shape[2], delta.shape[3], A.shape[1]
    steps = routes.shape[1]
    blocks, chunks = -(-channels // _CHANNEL_BLOCK), -(-steps // _CHUNK)
    starts = np.zeros((chunks, d_state, _CHANNEL_BLOCK), u.dtype)  # state before each chunk
    states = np.zeros(
        (_CHUNK + 1, d_state, _CHANNEL_BLOCK), u.dtype
    )  # before the first step of a chunk, then after each
    decays = np.zeros((_CHUNK, d_state, _CHANNEL_BLOCK), u.dtype)
    dt = np.zeros((_CHUNK, _CHANNEL_BLOCK), u.dtype)
    drive = np.zeros((_CHUNK, _CHANNEL_BLOCK), u.dtype)
    dstate = np.zeros((d_state, _CHANNEL_BLOCK), u.dtype)
    kept = np.zeros(_CHANNEL_BLOCK, u.dtype)  # gradient of log(decay)
    ddrive = np.zeros(_CHANNEL_BLOCK, u.dtype)
    for unit in range(start, stop):
        i, g, block = unit // (groups * blocks), unit // blocks % groups, unit % blocks
        first = block * _CHANNEL_BLOCK
        last = min(first + _CHANNEL_BLOCK, channels)
        gu, gy = (g if u.shape[2] > 1 else 0), (g if dy.shape[2] > 1 else 0)
        shift, skip = bias[g, first:last], D[g, first:last]
        dA_unit, dD_unit, dbias_unit = dA[i, g, :, first:last], dD[i, g, first:last], dbias[i, g, first:last]
        dA_unit[:], dD_unit[:], dbias_unit[:] = 0, 0, 0

        states[0] = 0
        for chunk in range(chunks):
            starts[chunk] = states[0]
            for t in range(chunk * _CHUNK, min((chunk + 1) * _CHUNK, steps)):
                p = routes[g, t]
                _step_sizes(delta[i, p, g, first:last], shift, with_softplus, dt[0])
                _multiply(u[i, p, gu, first:last], dt[0], drive[0])
                for n in range(d_state):
                    _advance(dt[0], A[g, n, first:last], drive[0], B[i, p, g, n], states[0, n])

        dstate[:] = 0
        for chunk in range(chunks - 1, -1, -1):
            size = min(_CHUNK, steps - chunk * _CHUNK)
            states[0] = starts[chunk]
            for s in range(size):
                p = routes[g, chunk * _CHUNK + s]
                _step_sizes(delta[i, p, g, first:last], shift, with_softplus, dt[s])
                _multiply(u[i, p, gu, first:last], dt[s], drive[s])
                for n in range(d_state):
                    _decay(dt[s], A[g, n, first:last], decays[s, n])
                    _next_state(decays[s, n], states[s, n], drive[s], B[i, p, g, n], states[s + 1, n])
            for s in range(size - 1, -1, -1):
                p = routes[g, chunk * _CHUNK + s]
                grad, x = dy[i, p, gy, first:last], u[i, p, gu, first:last]
                dx, dstep = du[i, p, g, first:last], ddelta[i, p, g, first:last]
                ddrive[:] = 0
                dstep[:] = 0
                for n in range(d_state):
                    _add_scaled(C[i, p, g, n], grad, dstate[n])
                    dC[block, i, p, g, n] = _dot(grad, states[s + 1, n])
                    dB[block, i, p, g, n] = _dot3(x, dstate[n], dt[s])
                    _add_scaled(B[i, p, g, n], dstate[n], ddrive)
                    _scale(decays[s, n], dstate[n])  # from here on the gradient of the state before this step
                    _multiply(dstate[n], states[s, n], kept)
                    _add_product(kept, A[g, n, first:last], dstep)
                    _add_product(kept, dt[s], dA_unit[n])
                _add_product(ddrive, x, dstep)
                if with_softplus:
                    _through_softplus(delta[i, p, g, first:last], shift, dstep)
                _multiply(grad, skip, dx)
                _add_product(ddrive, dt[s], dx)
                _add_product(grad, x, dD_unit)
                _add_scaled(1, dstep, dbias_unit)
