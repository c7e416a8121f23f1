"""A pyramid of maps for plain backbones, which have one resolution. Channels-first (B, C, H, W), as necks are.

Paper: Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection", ECCV 2022,
https://arxiv.org/abs/2203.16527 (ViTDet), section 3 and figure 2.
"""

import math
from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers import NORMS
from mmmamba.registry import MODELS


@MODELS.register_module()
class SimpleFeaturePyramid(BaseModule):
    """One map to maps of several resolutions, each by convolutions of its own, without lateral or top-down paths.

    A level is made finer by deconvolutions of stride 2, each of which halves the channels, with a norm and GELU between
    them, or coarser by max pooling; then a 1x1 and a 3x3 convolution, each with a norm. Maps of odd size are rounded up
    where they are made coarser, so that any size works.

    Args:
        in_channels: channels of the backbone's map.
        out_channels: channels of every level.
        scales: size of each level over that of the map, finest first: powers of two. (4, 2, 1, 0.5) makes strides
            4, 8, 16, 32 of a map of stride 16; for a stride of 8 that is (2, 1, 0.5, 0.25).
        num_outs: number of levels; those after the scales take every second pixel of the one before. None: as many as
            scales.
        norm: ``LN``, as published, or ``BN``.
        init_cfg: mmengine initialisation.

    Shape:
        Input: a tuple of one map (B, in_channels, H, W), from which all levels come, or of one for each scale, as
        from several layers of a plain backbone. Output: ``num_outs`` maps (B, out_channels, H_i, W_i).

    Raises:
        ValueError: if a scale is no power of two, the channels cannot be halved as often as they have to be, or
            ``num_outs`` is less than the number of scales.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int = 256,
        *,
        scales: Sequence[float] = (4, 2, 1, 0.5),
        num_outs: int | None = None,
        norm: str = 'LN',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        if norm not in NORMS:
            raise ValueError(f'norm {norm!r} is not one of {sorted(NORMS)}')
        self.num_outs = len(scales) if num_outs is None else num_outs
        if not scales or self.num_outs < len(scales):
            raise ValueError(
                f'num_outs {num_outs} is less than the number of scales, {tuple(scales)}, or there are none'
            )
        self.levels = nn.ModuleList(_level(in_channels, out_channels, scale, norm) for scale in scales)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        if len(maps) == 1:
            maps = [maps[0]] * len(self.levels)
        if len(maps) != len(self.levels):
            raise ValueError(
                f'SimpleFeaturePyramid: expected one map or {len(self.levels)}, one for each scale, got {len(maps)}; '
                "set the backbone's out_indices accordingly"
            )
        outs = [level(x) for level, x in zip(self.levels, maps, strict=True)]
        for _ in range(self.num_outs - len(outs)):
            outs.append(F.max_pool2d(outs[-1], kernel_size=1, stride=2))
        return tuple(outs)


class _MapNorm(nn.Module):
    """A norm of channels-last maps, on channels-first ones."""

    def __init__(self, norm: str, channels: int) -> None:
        super().__init__()
        self.norm = NORMS[norm](channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # (B, C, H, W) -> (B, H, W, C) -> (B, C, H, W)


def _level(channels: int, out_channels: int, scale: float, norm: str) -> nn.Sequential:
    doublings = math.log2(scale) if scale > 0 else math.nan
    if not doublings.is_integer():
        raise ValueError(f'scale {scale!r} is not a power of two such as 4, 1 or 0.5')
    if channels % max(1, int(scale)):
        raise ValueError(f'in_channels {channels} cannot be halved {int(doublings)} times, as scale {scale} needs')
    layers: list[nn.Module] = []
    if scale < 1:
        side = round(1 / scale)
        layers.append(nn.MaxPool2d(side, stride=side, ceil_mode=True))
    for i in range(int(doublings)):
        if i > 0:
            layers += [_MapNorm(norm, channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        channels //= 2
    layers += [nn.Conv2d(channels, out_channels, 1, bias=False), _MapNorm(norm, out_channels)]
    layers += [nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False), _MapNorm(norm, out_channels)]
    return nn.Sequential(*layers)
