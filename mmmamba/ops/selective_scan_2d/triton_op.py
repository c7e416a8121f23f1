"""The multi-route scan on Triton as PyTorch operators. The forward one also returns the states that backward needs."""

from functools import partial

import torch
from torch import Tensor

from .. import eager
from ..backend import needs_grad
from ..selective_scan import triton_path
from ..selective_scan.triton_backward import cut_parameters
from .interface import output_shape, shares_channels
from .triton_merge import merge


def _forward(
    x: Tensor,
    projected: Tensor,
    routes: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    merged: bool,
    save_states: bool,
) -> tuple[Tensor, Tensor]:
    """The scanned map, and the states saved for the backward pass, empty without ``save_states``.

    Args:
        x: (batch, L, E), the pixels of the map, or (batch, L, K * E) where each route has channels of its own.
        projected: (batch, L, K, R + 2N), every route's low-rank step size, B and C.
        routes: (K, T) int64.
        dt_proj_weight: (K, E, R).
        dt_proj_bias: (K, E).
        A: (K, E, N).
        D: (K, E).
        merged: whether to sum the outputs of routes that share channels, to (batch, L, E) from (K, batch, L, E).
        save_states: whether a backward pass will follow; without them it computes them itself.
    """
    inputs = scan_inputs(x, projected, routes, dt_proj_weight, dt_proj_bias, A, D)
    y, states = triton_path.forward(*inputs, save_states=save_states)
    return merge(y) if merged and shares_channels(x, A) else y, states


scan_op = torch.library.custom_op('mmmamba::selective_scan_2d_triton', _forward, mutates_args=())


@scan_op.register_fake
def _(x, projected, routes, dt_proj_weight, dt_proj_bias, A, D, merged, save_states):
    shape = triton_path.states_shape(x, A, routes) if save_states else (0,)
    return x.new_empty(output_shape(x, A, merged)), x.new_empty(shape, dtype=torch.float32)


def _backward(
    dy: Tensor,
    states: Tensor,
    x: Tensor,
    projected: Tensor,
    routes: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of x, projected, dt_proj_weight, dt_proj_bias, A and D."""
    inputs = scan_inputs(x, projected, routes, dt_proj_weight, dt_proj_bias, A, D)
    dx, _, dprojected, shares = triton_path.backward(dy, states, *inputs)
    dA, dweight, dbias, dD = cut_parameters(shares.sum(0), A, dt_proj_weight, dt_proj_bias, D)
    return (
        merge(dx) if shares_channels(x, A) else dx,
        dprojected,
        dweight.to(dt_proj_weight.dtype),
        dbias.to(dt_proj_bias.dtype),
        dA.to(A.dtype),
        dD.to(D.dtype),
    )


scan_backward_op = torch.library.custom_op(
    'mmmamba::selective_scan_2d_triton_backward', eager.unshared(_backward), mutates_args=()
)


@scan_backward_op.register_fake
def _(dy, states, x, projected, routes, dt_proj_weight, dt_proj_bias, A, D):
    like = (x, projected, dt_proj_weight, dt_proj_bias, A, D)
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in like)


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(output[1], *inputs[:7])
    ctx.mark_non_differentiable(output[1])


def _gradients(ctx, dy, _, run=scan_backward_op):
    dx, dprojected, *dparameters = run(dy, *ctx.saved_tensors)
    return dx, dprojected, None, *dparameters, None, None


scan_op.register_autograd(_gradients, setup_context=_save_for_backward)
_Scan = eager.function_of(_forward, _save_for_backward, partial(_gradients, run=_backward))


def scan(*inputs: Tensor | bool) -> Tensor:
    """The map of :func:`_forward` for its tensors and ``merged``; autograd decides whether states are saved."""
    return eager.call(scan_op, _Scan, *inputs, needs_grad(*inputs[:-1]))[0]


def scan_inputs(
    x: Tensor, projected: Tensor, routes: Tensor, weight: Tensor, bias: Tensor, A: Tensor, D: Tensor
) -> tuple[Tensor, ...]:
    d_state = A.shape[2]
    delta, B, C = projected.split_with_sizes([weight.shape[2], d_state, d_state], -1)
    return x, delta, weight, bias, A, B, C, D, routes
