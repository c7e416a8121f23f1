"""The 1-D scan on Triton as PyTorch operators. The forward one also returns the states that backward needs."""

from functools import partial

import torch
from torch import Tensor

from .. import eager
from ..backend import needs_grad
from . import triton_path
from .triton_backward import cut_parameters


def _forward(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    save_states: bool,
) -> tuple[Tensor, Tensor]:
    """The outputs (batch, L, D), before any gate, and the states saved for the backward pass.

    Args:
        u: (batch, L, D).
        delta: (batch, L, D).
        A: (D, N).
        B: (batch, L, G, N).
        C: (batch, L, G, N).
        D: (D,) or None.
        delta_bias: (D,) or None.
        delta_softplus: whether step sizes pass through softplus.
        reverse: whether to scan from the last step to the first.
        save_states: whether a backward pass will follow; without states, an empty tensor, it computes them itself.
    """
    inputs = _grouped(u, delta, A, B, C, D, delta_bias)
    y, states = triton_path.forward(*inputs, reverse=reverse, softplus=delta_softplus, save_states=save_states)
    return y.view(u.shape), states


scan_op = torch.library.custom_op('mmmamba::selective_scan_triton', _forward, mutates_args=())


@scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, reverse, save_states):
    shape = triton_path.states_shape(u, A.unflatten(0, (B.shape[2], -1)), None) if save_states else (0,)
    return torch.empty_like(u, memory_format=torch.contiguous_format), u.new_empty(shape, dtype=torch.float32)


def _backward(
    dy: Tensor,
    states: Tensor,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of u, delta, A, B, C, D and delta_bias, the last two empty where there is no such input."""
    inputs = _grouped(u, delta, A, B, C, D, delta_bias)
    grads = triton_path.backward(dy, states, *inputs, reverse=reverse, softplus=delta_softplus)
    du, ddelta, rows, shares = grads
    dA, _, dbias, dD = cut_parameters(shares.sum(0), inputs[4], *inputs[2:4], inputs[7])
    dB, dC = rows.chunk(2, dim=-1)
    return (
        du.view(u.shape),
        ddelta.view(u.shape),
        dA.flatten(0, 1).to(A.dtype),
        dB.to(B.dtype),
        dC.to(C.dtype),
        A.new_empty(0) if D is None else dD.flatten().to(D.dtype),
        A.new_empty(0) if delta_bias is None else dbias.flatten().to(delta_bias.dtype),
    )


scan_backward_op = torch.library.custom_op(
    'mmmamba::selective_scan_triton_backward', eager.unshared(_backward), mutates_args=()
)


@scan_backward_op.register_fake
def _(dy, states, u, delta, A, B, C, D, delta_bias, delta_softplus, reverse):
    absent = A.new_empty(0)
    like = (u, delta, A, B, C, absent if D is None else D, absent if delta_bias is None else delta_bias)
    return tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in like)


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(output[1], *inputs[:7])
    ctx.mark_non_differentiable(output[1])
    ctx.options = inputs[7:9]


def _gradients(ctx, dy, _, run=scan_backward_op):
    *grads, dD, dbias = run(dy, *ctx.saved_tensors, *ctx.options)
    D, delta_bias = ctx.saved_tensors[6:]
    return *grads, None if D is None else dD, None if delta_bias is None else dbias, None, None, None


scan_op.register_autograd(_gradients, setup_context=_save_for_backward)
_Scan = eager.function_of(_forward, _save_for_backward, partial(_gradients, run=_backward))


def scan(*inputs: Tensor | None, delta_softplus: bool, reverse: bool) -> Tensor:
    """The outputs of :func:`_forward` for its tensors; autograd decides whether states are saved."""
    return eager.call(scan_op, _Scan, *inputs, delta_softplus, reverse, needs_grad(*inputs))[0]


def _grouped(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None
) -> tuple[Tensor | None, ...]:
    groups = B.shape[2]
    A, D, bias = (p if p is None else p.unflatten(0, (groups, -1)) for p in (A, D, bias))  # (D, ...) -> (G, E, ...)
    delta = delta.contiguous().unflatten(2, (groups, -1))
    return u, delta, None, bias, A, B, C, D, None
