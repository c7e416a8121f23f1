"""Halving a channels-last map between stages: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), C')."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .conv_norm import conv_norm
from .norm import NORMS


class PatchMerging(nn.Module):
    """Four neighbours' channels side by side, norm (LayerNorm as published), Linear without bias (VMamba "v1", Swin).

    An odd map is padded with zeros at the bottom and right, before the norm; without ``pad`` its last row or column is
    left out instead (MedMamba), unless it has no other.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str = 'LN', *, pad: bool = True) -> None:
        super().__init__()
        self.pad = pad
        self.norm = NORMS[norm](4 * in_channels)
        self.reduction = nn.Linear(4 * in_channels, out_channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = _pad_to_even(x if self.pad else _cut_to_even(x))
        neighbours = [x[:, i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]  # (row, column) offsets
        return self.reduction(self.norm(torch.cat(neighbours, dim=-1)))


class ConvDownsample(nn.Module):
    """Convolution of stride 2, 3x3 with padding (VMamba "v3") or 2x2 on an evenly padded map ("v2"), then a norm.

    The norm is LayerNorm as published.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 3, norm: str = 'LN') -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=2, padding=(kernel_size - 1) // 2)
        self.norm = NORMS[norm](out_channels)

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.kernel_size == (2, 2):
            x = _pad_to_even(x)
        return conv_norm(x.permute(0, 3, 1, 2), self.conv, self.norm)


def _pad_to_even(x: Tensor) -> Tensor:
    return F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))


def _cut_to_even(x: Tensor) -> Tensor:
    h, w = (size if size == 1 else size - size % 2 for size in x.shape[1:3])
    return x[:, :h, :w]
