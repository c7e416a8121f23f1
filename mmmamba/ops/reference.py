"""The specification: selective scans as readable fp64 loops, differentiable, sharing no code with any backend.

Layout: tokens are channels-last, ``(batch, L, D)``; maps are ``(batch, H, W, E)``.
Source: Gu and Dao, "Mamba" (2023), section 3; Liu et al., "VMamba" (2024), section 4.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    *,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    reverse: bool = False,
) -> Tensor:
    """``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t``, ``y_t = C_t h_t + D u_t``, times ``silu(z_t)``, in fp64.

    Arguments and shapes as in :func:`mmmamba.ops.selective_scan`; the result is (batch, L, D) in fp64.
    """
    u, delta, A, B, C = u.double(), delta.double(), A.double(), B.double(), C.double()
    channels = A.shape[0]
    if B.dim() == 3:
        B, C = B.unsqueeze(2), C.unsqueeze(2)
    B = B.repeat_interleave(channels // B.shape[2], dim=2)  # (batch, L, G, N) -> (batch, L, D, N)
    C = C.repeat_interleave(channels // C.shape[2], dim=2)
    if delta_bias is not None:
        delta = delta + delta_bias.double()
    if delta_softplus:
        delta = torch.logaddexp(delta, torch.zeros_like(delta))
    steps = range(u.shape[1])
    state, outputs = u.new_zeros(u.shape[0], *A.shape), {}
    for t in reversed(steps) if reverse else steps:
        state = torch.exp(delta[:, t, :, None] * A) * state + (delta[:, t] * u[:, t]).unsqueeze(-1) * B[:, t]
        outputs[t] = (state * C[:, t]).sum(-1)
    y = torch.stack([outputs[t] for t in steps], dim=1)
    if D is not None:
        y = y + D.double() * u
    return y if z is None else y * F.silu(z.double())


def selective_scan_2d(
    x: Tensor,
    routes: Tensor,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    merge: bool = True,
) -> Tensor:
    """Scan the pixels of ``x`` along each route with that route's own parameters and sum the outputs, in fp64.

    Arguments and shapes as in :func:`mmmamba.ops.selective_scan_2d`; the result is in fp64.
    """
    tokens = x.double().flatten(1, 2)  # (batch, H, W, E) -> (batch, L, E)
    dt_rank, d_state = dt_proj_weight.shape[2], A.shape[2]
    shared = tokens.shape[2] == A.shape[1]  # or each route has channels of its own
    outputs = []
    for k, route in enumerate(routes.long()):
        u = (tokens if shared else tokens.chunk(len(routes), dim=2)[k])[:, route]
        dt, B, C = (u @ x_proj_weight[k].double().T).split([dt_rank, d_state, d_state], dim=-1)
        delta = dt @ dt_proj_weight[k].double().T
        y = selective_scan(u, delta, A[k], B, C, D[k], delta_bias=dt_proj_bias[k], delta_softplus=True)
        outputs.append(u.new_zeros(u.shape[0], tokens.shape[1], u.shape[2]).index_add(1, route, y))
    if not shared:
        return torch.cat(outputs, dim=2).view(x.shape)
    return sum(outputs).view(x.shape) if merge else torch.stack(outputs).view(-1, *x.shape)


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    silu: bool = False,
    reverse: bool = False,
    routes: Tensor | None = None,
) -> Tensor:
    """``y_t = bias + sum_k weight[k] x_{t - (W - 1) + k}`` for every channel, zeros before the sequence, in fp64.

    Arguments and shapes as in :func:`mmmamba.ops.causal_conv1d`; the result is in fp64.
    """
    if routes is not None:
        outputs = []
        for k, route in enumerate(routes):
            y = causal_conv1d(x[:, route], weight[k], None if bias is None else bias[k], silu=silu)
            outputs.append(torch.zeros_like(y).index_copy(1, route, y))
        return torch.cat(outputs, dim=2)
    x, weight = x.double(), weight.double()
    length, width = x.shape[1], weight.shape[1]
    outputs = []
    for t in range(length):
        y = torch.zeros_like(x[:, 0]) if bias is None else bias.double().expand_as(x[:, 0])
        for k in range(width):
            source = t + (width - 1 - k) if reverse else t - (width - 1 - k)
            if 0 <= source < length:
                y = y + weight[:, k] * x[:, source]
        outputs.append(y * torch.sigmoid(y) if silu else y)
    return torch.stack(outputs, dim=1)
