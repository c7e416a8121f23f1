"""Selective scan on the CPU, compiled by numba: threads over batch x group x channel block, SIMD over the channels.

A unit of work walks one route over the pixels and keeps the states of one block of channels in cache; every step
reads and writes one contiguous run of channels, so no permuted copy exists. The backward pass keeps the states at the
start of each chunk of steps and recomputes those inside it. Units run on Python threads with the GIL released: no
second OpenMP runtime beside PyTorch's, and nothing that a fork breaks.

Layout: ``u (b, L, 1 or G, E)``, ``delta (b, L, G, E)``, ``B, C (b, L, G, N)``, ``A (G, E, N)``, ``D, bias (G, E)``,
``routes (G, T)``: the pixel each group visits at step t. All fp32 or all fp64, contiguous.
"""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from .numba_kernels import CHANNEL_BLOCK, backward_units, forward_units


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
    _run(forward_units, _unit_count(delta), (*arrays, routes.numpy(), softplus, y.numpy()))
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
    blocks = -(-channels // CHANNEL_BLOCK)
    covers_map = routes.shape[1] == delta.shape[1]
    new = torch.empty if covers_map else torch.zeros
    du, ddelta = new(delta.shape, dtype=delta.dtype), new(delta.shape, dtype=delta.dtype)
    # Each unit writes its own share of a sum over channels or over the batch: no races, the same result on every run.
    dB, dC = new((blocks, *B.shape), dtype=B.dtype), new((blocks, *C.shape), dtype=C.dtype)
    dA = torch.empty((b, groups, A.shape[2], channels), dtype=A.dtype)  # state-major, like the kernel's A
    dD, dbias = torch.empty((b, groups, channels), dtype=A.dtype), torch.empty((b, groups, channels), dtype=A.dtype)
    outputs = tuple(t.numpy() for t in (du, ddelta, dA, dB, dC, dD, dbias))
    _run(backward_units, _unit_count(delta), (dy.contiguous().numpy(), *arrays, routes.numpy(), softplus, *outputs))
    return du, ddelta, dA.sum(0).transpose(1, 2).contiguous(), dB.sum(0), dC.sum(0), dD.sum(0), dbias.sum(0)


def _arrays(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None
) -> tuple[np.ndarray, ...]:
    D = A.new_zeros(A.shape[:2]) if D is None else D
    bias = A.new_zeros(A.shape[:2]) if bias is None else bias
    # State-major A: the kernels read A[g, n, channels] as one run.
    return tuple(t.contiguous().numpy() for t in (u, delta, A.transpose(1, 2), B, C, D, bias))


def _unit_count(delta: Tensor) -> int:
    b, _, groups, channels = delta.shape
    return b * groups * -(-channels // CHANNEL_BLOCK)


_pool: ThreadPoolExecutor | None = None
_pool_size = 0


def _drop_pool() -> None:
    """A forked child has the parent's pool object but none of its threads."""
    global _pool
    _pool = None


os.register_at_fork(after_in_child=_drop_pool)


def _run(kernel: Callable, units: int, arguments: tuple) -> None:
    """Call ``kernel(start, stop, *arguments)`` over all units, on as many threads as PyTorch uses.

    There are more shares than threads, each taken when a thread is free: no thread waits for one that was held up.
    """
    global _pool, _pool_size
    threads = min(torch.get_num_threads(), units)
    if threads < 2:
        kernel(0, units, *arguments)
        return
    if _pool is None or _pool_size < threads - 1:
        _pool, _pool_size = ThreadPoolExecutor(threads - 1, thread_name_prefix='mmmamba-scan'), threads - 1
    shares, taken = min(units, 4 * threads), itertools.count()

    def work():
        while (share := next(taken)) < shares:  # atomic
            kernel(units * share // shares, units * (share + 1) // shares, *arguments)

    futures = [_pool.submit(work) for _ in range(1, threads)]
    try:
        work()
    finally:
        for future in futures:
            future.result()
