"""The public causal depthwise 1-D convolution and its registration with PyTorch."""

from functools import partial

import torch
from torch import Tensor

from .. import eager, reference
from ..backend import resolve_backend
from . import torch_path


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    silu: bool = False,
    reverse: bool = False,
    routes: Tensor | None = None,
    backend: str = 'auto',
) -> Tensor:
    """Convolve every channel along the sequence, ``y_t = bias + sum_k weight[k] x_{t - (W - 1) + k}``, zeros before it.

    Sums are fp32 (fp64 if any input is) whatever the dtypes and autocast say.

    With ``routes`` there are K sequences over the same tokens, each in an order and with weights of its own. Nothing is
    put in order for that: a route reads its tokens where they are, and what belongs to a token stands at its place.

    Args:
        x: (batch, L, D), floating point, channels last; rows may lie apart, as half of a projection does.
        weight: (D, W), with routes (K, D, W); the last column for the current step.
        bias: (D,), with routes (K, D), or None.
        silu: pass the result through SiLU.
        reverse: let the sequence run from its last step to its first.
        routes: (K, L) int64 or None. The token of each step, each token once; a route says itself where it starts.
        backend: ``auto``, ``triton`` (fp64 inputs go to ``torch``), ``torch``, ``reference``, or ``numba``, which is
            ``torch`` here.

    Returns:
        (batch, L, D), with routes (batch, L, K * D), in the dtype of ``x``.

    Raises:
        ValueError: if shapes or devices disagree, ``reverse`` meets routes, or the backend does not serve the device.

    Source: Gu and Dao, "Mamba" (2023), section 3.4.
    """
    _check(x, weight, bias, routes, reverse)
    backend = resolve_backend(backend, x.device)
    if backend == 'reference':
        return reference.causal_conv1d(x, weight, bias, silu=silu, reverse=reverse, routes=routes).to(x.dtype)
    inputs = [x, weight, bias]
    double = any(t is not None and t.dtype == torch.float64 for t in inputs)
    if backend == 'triton' and not double and x.numel():
        return eager.call(_causal_conv1d_op, _CausalConv1d, x, weight, bias, routes, silu, reverse)
    wide = torch.float64 if double else torch.float32
    with torch.autocast(x.device.type, enabled=False):
        x_, weight, bias = (t if t is None else t.to(wide) for t in inputs)
        return torch_path.causal_conv1d(x_, weight, bias, routes, silu, reverse).to(x.dtype)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None, routes: Tensor | None, reverse: bool) -> None:
    if x.dim() != 3:
        raise ValueError(f'causal_conv1d: expected x of shape (batch, L, D), got {tuple(x.shape)}')
    if routes is not None and (routes.dim() != 2 or routes.dtype != torch.int64 or routes.shape[1] != x.shape[1]):
        raise ValueError(
            f'causal_conv1d: expected routes of shape (K, L), int64, with L = {x.shape[1]}, '
            f'got {tuple(routes.shape)}, {routes.dtype}'
        )
    if routes is not None and reverse:
        raise ValueError('causal_conv1d: reverse=True has no meaning for routes; flip them, routes.flip(1)')
    per_channel = (x.shape[2],) if routes is None else (routes.shape[0], x.shape[2])
    if weight.shape[:-1] != per_channel or weight.shape[-1] == 0:
        raise ValueError(
            f'causal_conv1d: expected weight of shape {"(D, W)" if routes is None else "(K, D, W)"} with '
            f'{"" if routes is None else f"K = {routes.shape[0]}, "}D = {x.shape[2]} and W >= 1, '
            f'got {tuple(weight.shape)}'
        )
    if bias is not None and bias.shape != per_channel:
        raise ValueError(f'causal_conv1d: expected bias of shape {per_channel}, got {tuple(bias.shape)}')
    for name, tensor in (('weight', weight), ('bias', bias), ('routes', routes)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f'causal_conv1d: {name} is on {tensor.device}, x on {x.device}; move them to one device')


def _forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, routes: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    from . import triton_forward  # triton is optional, and a second to import

    return triton_forward.causal_conv1d_forward(x, weight, bias, routes, silu, reverse)


_causal_conv1d_op = torch.library.custom_op('mmmamba::causal_conv1d_triton', _forward, mutates_args=())


@_causal_conv1d_op.register_fake
def _(x, weight, bias, routes, silu, reverse):
    return x.new_empty(*x.shape[:2], weight.shape[:-1].numel())


def _backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    routes: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    from . import triton_backward

    return triton_backward.causal_conv1d_backward(dy, x, weight, bias, routes, silu, reverse)


_causal_conv1d_backward_op = torch.library.custom_op(
    'mmmamba::causal_conv1d_triton_backward', _backward, mutates_args=()
)


@_causal_conv1d_backward_op.register_fake
def _(dy, x, weight, bias, routes, silu, reverse):
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    shapes = (weight.shape, weight.shape[:-1])
    return dx, *(weight.new_empty(shape, dtype=torch.float32) for shape in shapes)


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])
    ctx.options = inputs[4:]


def _gradients(ctx, dy, run=_causal_conv1d_backward_op):
    x, weight, bias, routes = ctx.saved_tensors
    dx, dweight, dbias = run(dy, x, weight, bias, routes, *ctx.options)
    return dx, dweight.to(weight.dtype), None if bias is None else dbias.to(bias.dtype), None, None, None


_causal_conv1d_op.register_autograd(_gradients, setup_context=_save_for_backward)
_CausalConv1d = eager.function_of(_forward, _save_for_backward, partial(_gradients, run=_backward))
