"""The public 1-D selective scan and its registration with PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import reference
from ..backend import resolve_backend
from . import grouped


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
    backend: str = 'auto',
) -> Tensor:
    """Scan ``h_t = exp(dt_t A) h_{t-1} + dt_t B_t u_t`` and return ``y_t = (C_t h_t + D u_t) * silu(z_t)``.

    ``dt_t = softplus(delta_t + delta_bias)`` with ``delta_softplus``, else the sum itself. Channel ``d`` reads B and
    C of group ``d // (D / G)``. States and sums are fp32 (fp64 if any input is) whatever the dtypes and autocast say.

    Args:
        u: (batch, L, D), floating point. The inputs, channels last.
        delta: (batch, L, D). Step sizes before bias and softplus.
        A: (D, N), negative for a state that decays; ``d_state`` N from 1 to 64 is tested.
        B: (batch, L, G, N), or (batch, L, N) for one group. Input weights of each step.
        C: as ``B``. Output weights of each step.
        D: (D,) or None. Skip connection.
        z: (batch, L, D) or None. Gate.
        delta_bias: (D,) or None.
        delta_softplus: pass the step sizes through softplus.
        reverse: scan from the last step to the first; output t still belongs to input t.
        backend: ``auto``, ``numba``, ``triton`` (fp64 inputs go to ``torch``), ``torch`` or ``reference``.

    Returns:
        (batch, L, D) in the dtype of ``u``.

    Raises:
        ValueError: if shapes or devices disagree, the sequence is empty, or the backend does not serve the device.

    Source: Gu and Dao, "Mamba" (2023), section 3.2, algorithm 2.
    """
    if B.dim() == 3 and C.dim() == 3:
        B, C = B.unsqueeze(2), C.unsqueeze(2)
    _check(u, delta, A, B, C, D, z, delta_bias)
    backend = resolve_backend(backend, u.device)
    if backend == 'reference':
        options = dict(delta_bias=delta_bias, delta_softplus=delta_softplus, reverse=reverse)
        return reference.selective_scan(u, delta, A, B, C, D, z, **options).to(u.dtype)
    inputs = (u, delta, A, B, C, D, delta_bias)
    if backend == 'triton' and all(t is None or t.dtype != torch.float64 for t in inputs):
        from . import triton_op  # triton is optional, and a second to import

        y = triton_op.scan(*inputs, delta_softplus=delta_softplus, reverse=reverse)
    else:
        y = _selective_scan_op(*inputs, delta_softplus, reverse, backend)
    return y if z is None else (y * F.silu(z)).to(u.dtype)


def _check(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
) -> None:
    if u.dim() != 3 or u.shape[1] == 0:
        raise ValueError(f'selective_scan: expected u of shape (batch, L, D) with L >= 1, got {tuple(u.shape)}')
    if A.dim() != 2 or A.shape[0] != u.shape[2]:
        raise ValueError(
            f'selective_scan: expected A of shape (D, N) with D = {u.shape[2]} as in u, got {tuple(A.shape)}'
        )
    if B.dim() != 4 or B.shape[2] == 0 or u.shape[2] % B.shape[2]:
        raise ValueError(
            f'selective_scan: expected B of shape (batch, L, G, N), G a divisor of D = {u.shape[2]}, '
            f'got {tuple(B.shape)}'
        )
    per_step, per_group, per_channel = tuple(u.shape), (*u.shape[:2], B.shape[2], A.shape[1]), (u.shape[2],)
    for name, tensor, shape in (
        ('A', A, (u.shape[2], A.shape[1])),
        ('delta', delta, per_step),
        ('B', B, per_group),
        ('C', C, per_group),
        ('D', D, per_channel),
        ('z', z, per_step),
        ('delta_bias', delta_bias, per_channel),
    ):
        if tensor is None:
            continue
        if tuple(tensor.shape) != shape:
            raise ValueError(f'selective_scan: expected {name} of shape {shape}, got {tuple(tensor.shape)}')
        if tensor.device != u.device:
            raise ValueError(f'selective_scan: {name} is on {tensor.device}, u on {u.device}; move them to one device')


@torch.library.custom_op('mmmamba::selective_scan', mutates_args=())
def _selective_scan_op(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    backend: str,
) -> Tensor:
    groups, routes = B.shape[2], _routes(u, B.shape[2], reverse)
    parameters = (_grouped(A, groups), B, C, _grouped(D, groups), _grouped(delta_bias, groups))
    tokens = (_grouped_tokens(u, groups), _grouped_tokens(delta, groups))
    y = grouped.scan_forward(*tokens, *parameters, routes, delta_softplus, backend)
    return y.flatten(2).to(u.dtype)


@_selective_scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, backend):
    return torch.empty_like(u, memory_format=torch.contiguous_format)


@torch.library.custom_op('mmmamba::selective_scan_backward', mutates_args=())
def _selective_scan_backward_op(
    dy: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    groups, routes = B.shape[2], _routes(u, B.shape[2], reverse)
    parameters = (_grouped(A, groups), B, C, _grouped(D, groups), _grouped(delta_bias, groups))
    tokens = (_grouped_tokens(t, groups) for t in (dy, u, delta))
    du, ddelta, dA, dB, dC, dD, dbias = grouped.scan_backward(*tokens, *parameters, routes, delta_softplus, backend)
    return (
        du.flatten(2).to(u.dtype),
        ddelta.flatten(2).to(delta.dtype),
        dA.flatten(0, 1).to(A.dtype),
        dB.to(B.dtype),
        dC.to(C.dtype),
        dD.flatten().to(A.dtype if D is None else D.dtype),
        dbias.flatten().to(A.dtype if delta_bias is None else delta_bias.dtype),
    )


@_selective_scan_backward_op.register_fake
def _(dy, u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, backend):
    like = (u, delta, A, B, C, A[:, 0] if D is None else D, A[:, 0] if delta_bias is None else delta_bias)
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in like)


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:7])
    ctx.options = inputs[7:]


def _backward(ctx, dy):
    u, delta, A, B, C, D, delta_bias = ctx.saved_tensors
    *grads, dD, dbias = _selective_scan_backward_op(dy, u, delta, A, B, C, D, delta_bias, *ctx.options)
    dD, dbias = (dD if D is not None else None), (dbias if delta_bias is not None else None)
    return *grads, dD, dbias, None, None, None


_selective_scan_op.register_autograd(_backward, setup_context=_save_for_backward)


def _grouped(parameter: Tensor | None, groups: int) -> Tensor | None:
    return None if parameter is None else parameter.unflatten(0, (groups, -1))  # (D, ...) -> (G, E, ...)


def _grouped_tokens(tokens: Tensor, groups: int) -> Tensor:
    return tokens.unflatten(2, (groups, -1))  # (batch, L, D) -> (batch, L, G, E)


def _routes(u: Tensor, groups: int, reverse: bool) -> Tensor:
    order = torch.arange(u.shape[1], device=u.device)
    return (order.flip(0) if reverse else order).expand(groups, -1)
