"""Norms of channels-last maps, by the name that an architecture gives them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.ops import layer_norm


class LayerNorm(nn.LayerNorm):
    """LayerNorm over the last dimension, ``(..., channels)`` to the same shape, by the fastest backend.

    Args:
        channels: size of the last dimension.
        eps: added to the variance.
        narrow: under autocast, write the dtype that a linear layer behind it reads. PyTorch writes fp32, which that
            layer then copies; ``False`` does the same, for a residual stream that stays in fp32.
    """

    def __init__(self, channels: int, eps: float = 1e-5, *, narrow: bool = False) -> None:
        super().__init__(channels, eps)
        self.narrow = narrow

    def forward(self, x: Tensor, shift: Tensor | None = None) -> Tensor:
        """Norm ``x``, with ``shift`` (channels,) ``x + shift``."""
        dtype = _dtype_behind(x, self.weight, self.narrow)
        return layer_norm(x, self.weight, self.bias, self.eps, shift=shift, dtype=dtype)


class RMSNorm(nn.Module):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimension, ``(..., channels)`` to the same shape, in fp32.

    Args:
        channels: size of the last dimension.
        eps: added to the mean of the squares.
        narrow: as in :class:`LayerNorm`.
    """

    def __init__(self, channels: int, eps: float = 1e-5, *, narrow: bool = False) -> None:
        super().__init__()
        self.eps, self.narrow = eps, narrow
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = torch.promote_types(x.dtype, torch.float32)
        y = F.rms_norm(x.to(wide), self.weight.shape, self.weight.to(wide), self.eps)
        return y.to(_dtype_behind(x, self.weight, self.narrow))


def _dtype_behind(x: Tensor, weight: Tensor, narrow: bool) -> torch.dtype:
    """The dtype that a norm of ``x`` writes: of a residual stream in fp32 between layers in half precision, theirs."""
    if not torch.is_autocast_enabled(x.device.type):
        return weight.dtype if x.dtype == torch.float32 else x.dtype
    return torch.get_autocast_dtype(x.device.type) if narrow else torch.promote_types(x.dtype, torch.float32)


class BatchNorm(nn.Module):
    """BatchNorm over the channels of (B, H, W, C), ``narrow`` or not in the dtype of its input."""

    def __init__(self, channels: int, *, narrow: bool = False) -> None:
        super().__init__()
        # A member, not the base, so that conversion to SyncBatchNorm keeps the layout.
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # channels-first inside


NORMS = {'LN': LayerNorm, 'BN': BatchNorm, 'RMS': RMSNorm}
