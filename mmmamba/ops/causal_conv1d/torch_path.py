"""Causal depthwise convolution in plain PyTorch, for any device and differentiable by autograd."""

import torch
from torch import Tensor
from torch.nn import functional as F


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, routes: Tensor | None, silu: bool, reverse: bool
) -> Tensor:
    """As the public function, in the dtype of the tensors, which is one."""
    if routes is not None:
        bias = None if bias is None else bias.flatten()
        along = x[:, routes.T].flatten(2)  # (batch, L, D) -> (batch, L, K * D)
        y = causal_conv1d(along, weight.flatten(0, 1), bias, None, silu, reverse).unflatten(2, (len(routes), -1))
        return torch.zeros_like(y).scatter(1, routes.T[None, :, :, None].expand_as(y), y).flatten(2)
    width = weight.shape[1]
    if reverse:
        weight = weight.flip(1)
    padding = (0, width - 1) if reverse else (width - 1, 0)
    y = F.conv1d(F.pad(x.transpose(1, 2), padding), weight.unsqueeze(1), bias, groups=weight.shape[0])
    y = y.transpose(1, 2)  # (batch, D, L) -> (batch, L, D)
    return F.silu(y) if silu else y
