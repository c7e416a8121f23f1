"""The public depthwise 2-D convolution of channels-last maps and its registration with PyTorch."""

from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import eager
from ..backend import resolve_backend


def depthwise_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, *, silu: bool = False, backend: str = 'auto'
) -> Tensor:
    """Convolve every channel of a channels-last map with a filter of its own, stride 1, zeros around the map.

    ``F.conv2d(x, weight, bias, padding=size // 2, groups=E)`` without the way to (B, E, H, W) and back. Autocast, under
    which that would cast the map, has no say: sums are fp32 and the result has the dtype the map came in.

    Args:
        x: (B, H, W, E), floating point.
        weight: (E, 1, size, size), odd size, any floating point dtype.
        bias: (E,) or None.
        silu: pass the result through SiLU.
        backend: ``auto``, ``triton`` (3 x 3; other sizes and fp64 input go to ``torch``), ``torch``, or what else the
            scans know, which is ``torch`` here. Inside ``torch.compile``, ``auto`` is ``torch``: the compiler fuses
            SiLU and casts.

    Returns:
        The shape and dtype of ``x``.

    Raises:
        ValueError: if shapes or devices disagree, the size is even, or the backend does not serve the device.
    """
    _check(x, weight, bias)
    compiles = backend == 'auto' and torch.compiler.is_compiling()
    on_triton = resolve_backend(backend, x.device) == 'triton' and not compiles
    if not on_triton or weight.shape[-1] != 3 or x.dtype == torch.float64 or x.numel() == 0:
        parameters = (p if p is None else p.to(x.dtype) for p in (weight, bias))
        with torch.autocast(x.device.type, enabled=False):
            y = F.conv2d(x.movedim(-1, 1), *parameters, padding=weight.shape[-1] // 2, groups=x.shape[-1])
            return (F.silu(y) if silu else y).movedim(1, -1)
    return eager.call(_depthwise_conv2d_op, _DepthwiseConv2d, x, weight, bias, silu)


def _check(x: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    if x.dim() != 4:
        raise ValueError(f'depthwise_conv2d: expected x of shape (B, H, W, E), got {tuple(x.shape)}')
    channels, size = x.shape[-1], weight.shape[-1]
    if weight.shape != (channels, 1, size, size) or size % 2 == 0:
        raise ValueError(
            f'depthwise_conv2d: expected weight of shape (E, 1, size, size) with E = {channels} and odd size, '
            f'got {tuple(weight.shape)}'
        )
    if bias is not None and bias.shape != (channels,):
        raise ValueError(f'depthwise_conv2d: expected bias of shape {(channels,)}, got {tuple(bias.shape)}')
    for name, tensor in (('weight', weight), ('bias', bias)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(
                f'depthwise_conv2d: {name} is on {tensor.device}, x on {x.device}; move them to one device'
            )


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> Tensor:
    from . import triton_forward  # triton is optional, and a second to import

    inputs = (t if t is None else t.contiguous() for t in (x, weight, bias))
    return triton_forward.depthwise_forward(*inputs, silu=silu)[0]


_depthwise_conv2d_op = torch.library.custom_op('mmmamba::depthwise_conv2d_triton', _forward, mutates_args=())


@_depthwise_conv2d_op.register_fake
def _(x, weight, bias, silu):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _backward(dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, silu: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of x, in its dtype, and of weight and bias, fp32; what SiLU saw is convolved again."""
    from . import triton_backward

    dy, x, weight = dy.contiguous(), x.contiguous(), weight.contiguous()
    if silu:
        dy = torch.ops.aten.silu_backward(dy, _forward(x, weight, bias, False))
    dx, shares = triton_backward.depthwise_backward(dy, x, weight, has_bias=True)
    return dx, *triton_backward.weight_and_bias(shares.sum(0), x.shape[3])


_depthwise_conv2d_backward_op = torch.library.custom_op(
    'mmmamba::depthwise_conv2d_triton_backward', eager.unshared(_backward), mutates_args=()
)


@_depthwise_conv2d_backward_op.register_fake
def _(dy, x, weight, bias, silu):
    dx = torch.empty_like(x, memory_format=torch.contiguous_format)
    return dx, *(weight.new_empty(shape, dtype=torch.float32) for shape in (weight.shape, weight.shape[:1]))


def _save_for_backward(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:3])
    ctx.silu = inputs[3]


def _gradients(ctx, dy, run=_depthwise_conv2d_backward_op):
    x, weight, bias = ctx.saved_tensors
    dx, dweight, dbias = run(dy, x, weight, bias, ctx.silu)
    return dx, dweight.to(weight.dtype), None if bias is None else dbias.to(bias.dtype), None


_depthwise_conv2d_op.register_autograd(_gradients, setup_context=_save_for_backward)
_DepthwiseConv2d = eager.function_of(_forward, _save_for_backward, partial(_gradients, run=_backward))
