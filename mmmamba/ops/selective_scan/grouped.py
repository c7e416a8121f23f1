"""What both public scans come down to: G groups of E channels, each scanned along its own route over the same pixels.

``u (b, L, 1 or G, E)``: with 1, all groups read the same channels. ``delta (b, L, G, E)``, ``A (G, E, N)``,
``B, C (b, L, G, N)``, ``D, bias (G, E)`` or None, ``routes (G, T)`` int64, each pixel at most once in a route. Inputs
may have any floating dtype; results are fp32, or fp64 if any input is.
"""

import torch
from torch import Tensor

from . import torch_path


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
    backend: str,
) -> Tensor:
    """Outputs ``C_t h_t + D u_t`` (b, L, G, E) at the pixels where they arise; 0 at pixels that a route leaves out."""
    u, delta, A, B, C, D, bias = _in_state_dtype(u, delta, A, B, C, D, bias)
    if backend == 'numba':
        return _numba_path().scan_forward(u, delta, A, B, C, D, bias, routes.contiguous(), softplus)
    along = [_gather(t, routes) for t in (u.expand_as(delta), delta, B, C)]
    y = torch_path.scan_forward(*along[:2], A, *along[2:], D, bias, softplus)
    return _scatter(y, routes, delta.shape[1])


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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D and bias for ``dy`` (b, L, 1 or G, E); those of u per group, (b, L, G, E)."""
    dy, u, delta, A, B, C, D, bias = _in_state_dtype(dy, u, delta, A, B, C, D, bias)
    if backend == 'numba':
        return _numba_path().scan_backward(dy, u, delta, A, B, C, D, bias, routes.contiguous(), softplus)
    along = [_gather(t, routes) for t in (dy.expand_as(delta), u.expand_as(delta), delta, B, C)]
    du, ddelta, dA, dB, dC, dD, dbias = torch_path.scan_backward(*along[:3], A, *along[3:], D, bias, softplus)
    du, ddelta, dB, dC = (_scatter(t, routes, delta.shape[1]) for t in (du, ddelta, dB, dC))
    return du, ddelta, dA, dB, dC, dD, dbias


def _numba_path():
    from . import numba_path  # imports numba, which is optional and takes a second

    return numba_path


def _in_state_dtype(*tensors: Tensor | None) -> list[Tensor | None]:
    double = any(t is not None and t.dtype == torch.float64 for t in tensors)
    dtype = torch.float64 if double else torch.float32
    return [t if t is None else t.to(dtype) for t in tensors]


def _gather(values: Tensor, routes: Tensor) -> Tensor:
    index = routes.T[None, :, :, None].expand(values.shape[0], -1, -1, values.shape[3])
    return values.gather(1, index)  # (b, L, G, ...) -> (b, T, G, ...)


def _scatter(values: Tensor, routes: Tensor, pixels: int) -> Tensor:
    index = routes.T[None, :, :, None].expand_as(values)
    shape = (values.shape[0], pixels, *values.shape[2:])
    return values.new_zeros(shape).scatter_(1, index, values)  # (b, T, G, ...) -> (b, L, G, ...)
