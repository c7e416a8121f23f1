"""The public multi-route 2-D selective scan and its registration with PyTorch."""

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import reference
from ..backend import resolve_backend
from ..selective_scan import grouped


def selective_scan_2d(
    x: Tensor,
    routes: Tensor,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    *,
    backend: str = 'auto',
) -> Tensor:
    """Scan a channels-last map along K routes, each with its own parameters, and sum the K outputs.

    Along route k, with ``p = routes[k, t]`` the pixel of step t and ``(dt_low, B, C) = x_proj_weight[k] x_p``:
    ``dt_t = softplus(dt_proj_weight[k] dt_low + dt_proj_bias[k])``, ``h_t = exp(dt_t A[k]) h_{t-1} + dt_t B x_p``, and
    ``C h_t + D[k] x_p`` is added to the output at p. The projections act per pixel, so they run once, on the map as it
    lies, in the dtype of ``x`` or of autocast; only the recurrence follows the routes. Step sizes, states and sums are
    fp32 (fp64 if any input is) also under autocast.

    Args:
        x: (batch, H, W, E), floating point. The map, after the depthwise convolution.
        routes: (K, T) int64, T <= H * W. Row-major index of the pixel each step visits, no pixel twice in a route.
        x_proj_weight: (K, R + 2N, E). Rows in the order dt (R), B (N), C (N).
        dt_proj_weight: (K, E, R). Expands the low-rank step size.
        dt_proj_bias: (K, E).
        A: (K, E, N), negative for a state that decays; ``d_state`` N from 1 to 64 is tested.
        D: (K, E). Skip connection.
        backend: ``auto``, ``numba``, ``triton`` (fp64 inputs go to ``torch``), ``torch`` or ``reference``.

    Returns:
        (batch, H, W, E) in the dtype of ``x``; 0 at pixels that no route visits.

    Raises:
        ValueError: if shapes or devices disagree, or the backend does not serve the device.

    Source: Liu et al., "VMamba: Visual State Space Model" (2024), section 4.2 (SS2D).
    """
    _check(x, routes, x_proj_weight, dt_proj_weight, dt_proj_bias, A, D)
    backend = resolve_backend(backend, x.device)
    if backend == 'reference':
        parameters = (x_proj_weight, dt_proj_weight, dt_proj_bias, A, D)
        return reference.selective_scan_2d(x, routes, *parameters).to(x.dtype)
    tokens = x.flatten(1, 2)  # (batch, H, W, E) -> (batch, L, E)
    weight = x_proj_weight.flatten(0, 1).to(x.dtype)
    projected = F.linear(tokens, weight).unflatten(2, (A.shape[0], -1))  # (batch, L, K, R + 2N)
    inputs = (tokens, projected, routes, dt_proj_weight, dt_proj_bias, A, D)
    if backend == 'triton' and all(t.dtype != torch.float64 for t in inputs):
        from . import triton_op  # triton is optional, and a second to import

        return triton_op.scan(*inputs).view(x.shape)
    return _selective_scan_2d_op(*inputs, backend).view(x.shape)


def _check(
    x: Tensor,
    routes: Tensor,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
) -> None:
    if x.dim() != 4 or x.shape[1] * x.shape[2] == 0:
        raise ValueError(
            f'selective_scan_2d: expected x of shape (batch, H, W, E) with H, W >= 1, got {tuple(x.shape)}'
        )
    pixels, channels = x.shape[1] * x.shape[2], x.shape[3]
    if routes.dim() != 2 or routes.dtype != torch.int64 or not 1 <= routes.shape[1] <= pixels:
        raise ValueError(
            f'selective_scan_2d: expected routes of shape (K, T), int64, with 1 <= T <= H * W = {pixels}, '
            f'got {tuple(routes.shape)}, {routes.dtype}'
        )
    if A.dim() != 3 or dt_proj_weight.dim() != 3:
        raise ValueError(
            f'selective_scan_2d: expected A (K, E, N) and dt_proj_weight (K, E, R), got {tuple(A.shape)} and '
            f'{tuple(dt_proj_weight.shape)}'
        )
    count, d_state, dt_rank = routes.shape[0], A.shape[2], dt_proj_weight.shape[2]
    for name, tensor, shape in (
        ('x_proj_weight', x_proj_weight, (count, dt_rank + 2 * d_state, channels)),
        ('dt_proj_weight', dt_proj_weight, (count, channels, dt_rank)),
        ('dt_proj_bias', dt_proj_bias, (count, channels)),
        ('A', A, (count, channels, d_state)),
        ('D', D, (count, channels)),
        ('routes', routes, tuple(routes.shape)),
    ):
        if tuple(tensor.shape) != shape:
            raise ValueError(
                f'selective_scan_2d: expected {name} of shape {shape} for {count} routes, {channels} channels, d_state '
                f'{d_state} and dt_rank {dt_rank}, got {tuple(tensor.shape)}'
            )
        if tensor.device != x.device:
            raise ValueError(f'selective_scan_2d: {name} on {tensor.device}, x on {x.device}; move them to one device')


def _check_range(routes: Tensor, pixels: int) -> None:
    first, last = (int(p) for p in routes.aminmax())
    if first < 0 or last >= pixels:
        raise ValueError(
            f'selective_scan_2d: routes visit pixels {first} to {last}, but the map has pixels 0 to {pixels - 1}'
        )


@torch.library.custom_op('mmmamba::selective_scan_2d', mutates_args=())
def _selective_scan_2d_op(
    x: Tensor,
    projected: Tensor,
    routes: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    backend: str,
) -> Tensor:
    if x.device.type == 'cpu':  # elsewhere it would cost a synchronisation
        _check_range(routes, x.shape[1])
    delta, B, C = _expand(projected, dt_proj_weight, A)
    y = grouped.scan_forward(x.unsqueeze(2), delta, A, B, C, D, dt_proj_bias, routes, True, backend)
    return y.sum(2).to(x.dtype)  # (batch, L, K, E) -> (batch, L, E)


@_selective_scan_2d_op.register_fake
def _(x, projected, routes, dt_proj_weight, dt_proj_bias, A, D, backend):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@torch.library.custom_op('mmmamba::selective_scan_2d_backward', mutates_args=())
def _selective_scan_2d_backward_op(
    dy: Tensor,
    x: Tensor,
    projected: Tensor,
    routes: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    delta, B, C = _expand(projected, dt_proj_weight, A)
    parameters = (A, B, C, D, dt_proj_bias)
    dx, ddelta, dA, dB, dC, dD, dbias = grouped.scan_backward(
        dy.unsqueeze(2), x.unsqueeze(2), delta, *parameters, routes, True, backend
    )
    low_rank = projected[..., : dt_proj_weight.shape[2]].to(ddelta.dtype)
    dlow_rank = _einsum('blke,ker->blkr', ddelta, dt_proj_weight.to(ddelta.dtype))
    return (
        dx.sum(2).to(x.dtype),
        torch.cat([dlow_rank, dB, dC], dim=-1).to(projected.dtype),
        _einsum('blke,blkr->ker', ddelta, low_rank).to(dt_proj_weight.dtype),
        dbias.to(dt_proj_bias.dtype),
        dA.to(A.dtype),
        dD.to(D.dtype),
    )


@_selective_scan_2d_backward_op.register_fake
def _(dy, x, projected, routes, dt_proj_weight, dt_proj_bias, A, D, backend):
    like = (x, projected, dt_proj_weight, dt_proj_bias, A, D)
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in like)


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:7])
    ctx.backend = inputs[7]


def _backward(ctx, dy):
    dx, dprojected, *dparameters = _selective_scan_2d_backward_op(dy, *ctx.saved_tensors, ctx.backend)
    return dx, dprojected, None, *dparameters, None


_selective_scan_2d_op.register_autograd(_backward, setup_context=_save_for_backward)


def _expand(projected: Tensor, dt_proj_weight: Tensor, A: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split (batch, L, K, R + 2N) into delta (batch, L, K, E), expanded, and B, C (batch, L, K, N), fp32 or fp64."""
    dtype = torch.promote_types(torch.promote_types(projected.dtype, dt_proj_weight.dtype), torch.float32)
    d_state = A.shape[2]
    low_rank, B, C = projected.to(dtype).split([dt_proj_weight.shape[2], d_state, d_state], dim=-1)
    return _einsum('blkr,ker->blke', low_rank, dt_proj_weight.to(dtype)), B, C


def _einsum(equation: str, *operands: Tensor) -> Tensor:
    """``torch.einsum`` in the dtype of the operands: autocast reaches into the op and would round the step sizes."""
    with torch.autocast(operands[0].device.type, enabled=False):
        return torch.einsum(equation, *operands)
