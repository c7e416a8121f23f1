"""Backward causal depthwise convolution in Triton: the programs of the forward pass, a share of the sequence each.

What the activation saw is convolved again, for its own steps and those that a step reaches. Each program writes its
share of the sums for weight and bias and the launcher adds them: no atomics, the same result on every run.
"""

import torch
import triton
from torch import Tensor
from triton import language as tl

from ..launch import Launch, cached_by_size
from ..sizes import cdiv, next_power_of_2
from .triton_forward import BLOCK_D, BLOCK_L, convolve, load_steps, places

# Tiles that a program takes: its sums are written once for 256 steps.
_TILES = 8


@triton.jit
def causal_conv1d_backward_kernel(
    dy_ptr,
    x_ptr,
    weight_ptr,
    bias_ptr,
    routes_ptr,
    dx_ptr,
    dweight_ptr,
    dbias_ptr,
    L,
    D,
    K,
    stride_b,
    stride_l,
    WIDTH: tl.constexpr,
    SILU: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_D: tl.constexpr,
    TILES: tl.constexpr,
):
    b, k = (tl.program_id(2) // K).to(tl.int64), tl.program_id(2) % K
    d = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    w = tl.arange(0, BLOCK_W)
    x_ptr += b * stride_b
    dy_ptr += (b * L * K + k) * D
    dx_ptr += (b * K + k) * L * D
    weight_ptr += k * D * WIDTH
    if bias_ptr is not None:
        bias_ptr += k * D
    if routes_ptr is not None:
        routes_ptr += k * L
    dweight = tl.zeros((BLOCK_W, BLOCK_D), tl.float32)
    dbias = tl.zeros((BLOCK_D,), tl.float32)
    for i in range(TILES):
        step = (tl.program_id(0).to(tl.int64) * TILES + i) * BLOCK_L + tl.arange(0, BLOCK_L)
        dx = tl.zeros((BLOCK_L, BLOCK_D), tl.float32)
        for j in tl.static_range(WIDTH):
            later = step - (WIDTH - 1 - j) if REVERSE else step + (WIDTH - 1 - j)  # where weight j meets this step
            grad = load_steps(dy_ptr, routes_ptr, later, d, L, K * D, D)
            if SILU:
                y = convolve(x_ptr, weight_ptr, bias_ptr, routes_ptr, later, d, L, stride_l, D, WIDTH, REVERSE)
                sigmoid = tl.sigmoid(y)
                grad *= sigmoid * (1.0 + y * (1.0 - sigmoid))
            weight = tl.load(weight_ptr + d * WIDTH + j, mask=d < D, other=0.0).to(tl.float32)
            dx += weight[None, :] * grad
            x = load_steps(x_ptr, routes_ptr, step, d, L, stride_l, D)
            dweight += tl.where(w[:, None] == j, tl.sum(grad * x, 0)[None, :], 0.0)
            if j == WIDTH - 1:
                dbias += tl.sum(grad, 0)
        p, valid = places(routes_ptr, step, L)
        inside = valid[:, None] & (d < D)[None, :]
        tl.store(dx_ptr + p[:, None] * D + d[None, :], dx.to(dx_ptr.dtype.element_ty), mask=inside)
    share = ((b * tl.num_programs(0) + tl.program_id(0)) * K + k) * D + d
    in_weight = (d < D)[None, :] & (w < WIDTH)[:, None]
    tl.store(dweight_ptr + share[None, :] * WIDTH + w[:, None], dweight, mask=in_weight)
    tl.store(dbias_ptr + share, dbias, mask=d < D)


def causal_conv1d_backward(
    dy: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    routes: Tensor | None,
    silu: bool,
    reverse: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of ``x``, in its dtype, and of weight and bias, fp32."""
    batch, length, channels = x.shape
    x = x if x.stride(2) == 1 else x.contiguous()
    count = 1 if routes is None else len(routes)
    dx = torch.empty((batch, count, length, channels), dtype=x.dtype, device=x.device)
    launch, shares = _backward_launch(x.shape, x.stride(), count, weight.shape[-1], silu, reverse)
    dweight = x.new_empty((shares, *weight.shape), dtype=torch.float32)
    dbias = x.new_empty((shares, *weight.shape[:-1]), dtype=torch.float32)
    parameters = (t if t is None else t.contiguous() for t in (weight, bias, routes))
    launch(dy.contiguous(), x, *parameters, dx, dweight, dbias)
    return dx[:, 0] if routes is None else dx.sum(1), dweight.sum(0), dbias.sum(0)


@cached_by_size
def _backward_launch(
    shape: tuple[int, int, int], strides: tuple[int, int, int], routes: int, width: int, silu: bool, reverse: bool
) -> tuple[Launch, int]:
    """The launch and its number of shares."""
    batch, length, channels = shape
    grid = (cdiv(length, BLOCK_L * _TILES), cdiv(channels, BLOCK_D), batch * routes)
    sizes = dict(L=length, D=channels, K=routes, stride_b=strides[0], stride_l=strides[1])
    options = dict(WIDTH=width, SILU=silu, REVERSE=reverse, BLOCK_W=next_power_of_2(width))
    blocks = dict(BLOCK_L=BLOCK_L, BLOCK_D=BLOCK_D, TILES=_TILES)
    return Launch(causal_conv1d_backward_kernel, grid, **sizes, **options, **blocks), batch * grid[0]
