"""Selective scan in plain PyTorch, for any device: chunks of the sequence advance side by side.

A sequence of L steps is cut into about sqrt(L) chunks. All chunks run their local recurrence together (sqrt(L) steps in
Python), the chunk states are chained (sqrt(L) steps), and the carried state is added to every step at once. Both passes
share this linear scan: the backward pass is the same recurrence over the reversed sequence, and states are recomputed.

Layout: ``u (b, L, 1 or G, E)``, ``delta (b, L, G, E)``, ``B, C (b, L, G, N)``, ``A (G, E, N)``, ``D, bias (G, E)``, in
scan order, all fp32 or all fp64.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional as F

# States are (b, L, G, E, n) tensors; d_state is cut into slices of n so that one holds at most this many values.
_STATE_BUDGET = 2**25


def scan_forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None, softplus: bool
) -> Tensor:
    """Outputs ``C_t h_t + D u_t`` (b, L, G, E) of every group's scan."""
    dt = _step_size(delta, bias, softplus)
    y = torch.zeros_like(delta) if D is None else D * u
    for n in _state_slices(delta, A):
        states = _linear_scan(_decay(dt, A, n), _drive(u, dt, B, n))
        y = y + (states * C[:, :, :, None, n]).sum(-1)
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
    softplus: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D, bias for ``dy`` (b, L, 1 or G, E); those of u stay per group, (b, L, G, E)."""
    dt = _step_size(delta, bias, softplus)
    du = torch.zeros_like(delta) if D is None else dy * D
    ddt = torch.zeros_like(delta)
    dA, dB, dC = torch.zeros_like(A), torch.zeros_like(B), torch.zeros_like(C)
    for n in _state_slices(delta, A):
        decay, drive = _decay(dt, A, n), _drive(u, dt, B, n)
        states = _linear_scan(decay, drive)
        dC[..., n] = (dy.unsqueeze(-1) * states).sum(3)
        # dh_t = C_t dy_t + a_{t+1} dh_{t+1}: the same scan over the flipped sequence, with decays one step late.
        late = torch.cat([decay[:, 1:], torch.zeros_like(decay[:, :1])], dim=1)
        dstates = _linear_scan(late.flip(1), (dy.unsqueeze(-1) * C[:, :, :, None, n]).flip(1)).flip(1)
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)  # h_{t-1}
        kept = dstates * decay * before  # not states - drive: that cancels where the decay is small
        dA[..., n] = (kept * dt.unsqueeze(-1)).sum((0, 1))
        driven = (dstates * B[:, :, :, None, n]).sum(-1)  # (b, L, G, E)
        ddt += (kept * A[..., n]).sum(-1) + driven * u
        du = du + driven * dt
        dB[..., n] = (dstates * (dt * u).unsqueeze(-1)).sum(3)
    if softplus:
        ddt = ddt * torch.sigmoid(delta if bias is None else delta + bias)
    return du, ddt, dA, dB, dC, (dy * u).sum((0, 1)), ddt.sum((0, 1))


def _step_size(delta: Tensor, bias: Tensor | None, softplus: bool) -> Tensor:
    dt = delta if bias is None else delta + bias
    return F.softplus(dt, threshold=40) if softplus else dt  # the default, 20, shows in fp64


def _state_slices(delta: Tensor, A: Tensor) -> Iterator[slice]:
    width = max(1, _STATE_BUDGET // max(1, delta.numel()))
    return (slice(n, n + width) for n in range(0, A.shape[2], width))


def _decay(dt: Tensor, A: Tensor, n: slice) -> Tensor:
    return torch.exp(dt.unsqueeze(-1) * A[..., n])  # (b, L, G, E, n)


def _drive(u: Tensor, dt: Tensor, B: Tensor, n: slice) -> Tensor:
    return (dt * u).unsqueeze(-1) * B[:, :, :, None, n]  # (b, L, G, E, n)


def _linear_scan(decay: Tensor, drive: Tensor) -> Tensor:
    """``h_t = decay_t h_{t-1} + drive_t`` along dim 1 with ``h_{-1} = 0``."""
    b, length, *rest = decay.shape
    chunk = math.isqrt(length - 1) + 1
    chunks = -(-length // chunk)
    tail = -length % chunk
    if tail:  # zero decay and drive: the padded steps change nothing before them
        decay = torch.cat([decay, decay.new_zeros(b, tail, *rest)], dim=1)
        drive = torch.cat([drive, drive.new_zeros(b, tail, *rest)], dim=1)
    decay = decay.view(b, chunks, chunk, *rest).movedim(2, 0).contiguous()  # (chunk, b, chunks, ...)
    states = drive.view(b, chunks, chunk, *rest).movedim(2, 0).contiguous()
    for t in range(1, chunk):
        states[t].addcmul_(decay[t], states[t - 1])
    kept = decay.cumprod(0)  # share of the chunk's initial state left at each step
    carry = torch.zeros_like(states[0])  # (b, chunks, ...): state at each chunk's start
    for c in range(1, chunks):
        torch.addcmul(states[-1][:, c - 1], kept[-1][:, c - 1], carry[:, c - 1], out=carry[:, c])
    states.addcmul_(kept, carry)
    return states.movedim(0, 2).reshape(b, chunks * chunk, *rest)[:, :length]
