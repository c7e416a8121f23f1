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
    merge: bool = True,
    backend: str = 'auto',
) -> Tensor:
    """Scan a channels-last map along K routes, each with its own parameters, and sum the K outputs.

    Along route k, with ``p = routes[k, t]`` the pixel of step t and ``(dt_low, B, C) = x_proj_weight[k] x_p``:
    ``dt_t = softplus(dt_proj_weight[k] dt_low + dt_proj_bias[k])``, ``h_t = exp(dt_t A[k]) h_{t-1} + dt_t B x_p``, and
    ``C h_t + D[k] x_p`` is added to the output at p. The projections act per pixel, so they run once, on the map as it
    lies, in the dtype of ``x`` or of autocast; only the recurrence follows the routes. Step sizes, states and sums are
    fp32 (fp64 if any input is) also under autocast.

    Args:
        x: (batch, H, W, E), floating point. The map, after the depthwise convolution. Or (batch, H, W, K * E): each
            route scans channels of its own, one group after the other.
        routes: (K, T) int64, T <= H * W. Row-major index of the pixel each step visits, no pixel twice in a route.
        x_proj_weight: (K, R + 2N, E). Rows in the order dt (R), B (N), C (N).
        dt_proj_weight: (K, E, R). Expands the low-rank step size.
        dt_proj_bias: (K, E).
        A: (K, E, N), negative for a state that decays; ``d_state`` N from 1 to 64 is tested.
        D: (K, E). Skip connection.
        merge: sum the outputs of routes that share their channels. Routes with channels of their own have no sum.
        backend: ``auto``, ``numba``, ``triton`` (fp64 inputs go to ``torch``), ``torch`` or ``reference``.

    Returns:
        The shape of ``x``, without ``merge`` (K, batch, H, W, E), in the dtype of ``x``; 0 at pixels that are not
        visited.

    Raises:
        ValueError: if shapes or devices disagree, or the backend does not serve the device.

    Source: Liu et al., "VMamba: Visual State Space Model" (2024), section 4.2 (SS2D).
    """
    _check(x, routes, x_proj_weight, dt_proj_weight, dt_proj_bias, A, D)
    backend = resolve_backend(backend, x.device)
    if backend == 'reference':
        parameters = (x_proj_weight, dt_proj_weight, dt_proj_bias, A, D)
        return reference.selective_scan_2d(x, routes, *parameters, merge=merge).to(x.dtype)
    tokens = x.flatten(1, 2)  # (batch, H, W, E) -> (batch, L, E)
    inputs = (tokens, _project(tokens, x_proj_weight), routes, dt_proj_weight, dt_proj_bias, A, D)
    if backend == 'triton' and all(t.dtype != torch.float64 for t in inputs):
        from . import triton_op  # triton is optional, and a second to import

        y = triton_op.scan(*inputs, merge)
    else:
        y = _selective_scan_2d_op(*inputs, merge, backend)
    return y.unflatten(-2, x.shape[1:3])


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
    if channels == count * A.shape[1]:
        channels = A.shape[1]
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


def scan(
    x: Tensor,
    projected: Tensor,
    routes: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    merge: bool,
    backend: str,
) -> Tensor:
    """What the operator runs, which an exporter traces in its place."""
    if x.device.type == 'cpu' and not torch.compiler.is_compiling():  # elsewhere it would cost a synchronisation
        _check_range(routes, x.shape[1])
    delta, B, C = _expand(projected, dt_proj_weight, A)
    y = grouped.scan_forward(_by_route(x, A), delta, A, B, C, D, dt_proj_bias, routes, True, backend).to(x.dtype)
    if shares_channels(x, A) and not merge:
        return y.movedim(2, 0).contiguous()  # (batch, L, K, E) -> (K, batch, L, E)
    return _like_map(y, x)


_selective_scan_2d_op = torch.library.custom_op('mmmamba::selective_scan_2d', scan, mutates_args=())


@_selective_scan_2d_op.register_fake
def _(x, projected, routes, dt_proj_weight, dt_proj_bias, A, D, merge, backend):
    return x.new_empty(output_shape(x, A, merge))


def output_shape(x: Tensor, A: Tensor, merge: bool) -> tuple[int, ...]:
    """Of a scan of tokens: that of ``x``, (batch, L, E) or (batch, L, K * E), or (K, batch, L, E)."""
    return tuple(x.shape) if merge or not shares_channels(x, A) else (A.shape[0], *x.shape)


def shares_channels(x: Tensor, A: Tensor) -> bool:
    """Whether all routes read the same channels of the tokens (batch, L, E), not each its own of (batch, L, K * E)."""
    return x.shape[2] == A.shape[1]


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
        _by_route(dy, A), _by_route(x, A), delta, *parameters, routes, True, backend
    )
    low_rank = projected[..., : dt_proj_weight.shape[2]].to(ddelta.dtype)
    dlow_rank = _einsum('blke,ker->blkr', ddelta, dt_proj_weight.to(ddelta.dtype))
    return (
        _like_map(dx, x).to(x.dtype),
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
    ctx.backend = inputs[8]


def _backward(ctx, dy):
    dx, dprojected, *dparameters = _selective_scan_2d_backward_op(dy, *ctx.saved_tensors, ctx.backend)
    return dx, dprojected, None, *dparameters, None, None


_selective_scan_2d_op.register_autograd(_backward, setup_context=_save_for_backward)


def _project(tokens: Tensor, weight: Tensor) -> Tensor:
    """(batch, L, E) or (batch, L, K * E) to (batch, L, K, R + 2N), for ``weight`` (K, R + 2N, E)."""
    routes, rows, channels = weight.shape
    weight = weight.to(tokens.dtype)
    if tokens.shape[2] == channels:
        return F.linear(tokens, weight.flatten(0, 1)).unflatten(2, (routes, rows))
    return torch.einsum('blke,kre->blkr', tokens.unflatten(2, (routes, channels)), weight)


def _by_route(x: Tensor, A: Tensor) -> Tensor:
    """(batch, L, E), (batch, L, K * E) or (K, batch, L, E) to (batch, L, 1 or K, E)."""
    return x.movedim(0, 2) if x.dim() == 4 else x.unflatten(2, (-1, A.shape[1]))


def _like_map(y: Tensor, x: Tensor) -> Tensor:
    """(batch, L, K, E) side by side or summed, whichever has the channels of ``x``."""
    return y.sum(2) if y.shape[3] == x.shape[2] else y.flatten(2)


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
