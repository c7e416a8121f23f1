"""Heracles: a filter in the frequencies of the map beside a convolution, then attention, in four stages.

Paper: Patro et al., "Heracles: A Hybrid SSM-Transformer Model for High-Resolution Image and Time-Series Analysis",
2024, https://arxiv.org/abs/2403.18063. The released code (badripatro/heracles) does not run; this is the model with its
smallest repair, a depthwise convolution of as many channels as it is given. Layout inside: channels-last (B, H, W, C).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers import Attention, ConvDownsample, ConvMlp, DeepStem, LayerNorm, Mlp
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import NormedStage, PreNormBlock, PyramidBackbone, drop_path_rates
from mmmamba.registry import MODELS

FILTER_STAGES = 2  # the first two stages filter, the others attend
NORM_EPS = 1e-6

# What an arch dict may say and, for all but the first five, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    num_heads=None,  # of the attention in each stage; the filter stages do not look at it
    mlp_ratios=None,  # of each stage
    stem_dims=None,  # channels inside the stem
    img_size=224,  # that the filters are learned for; any size is taken
    drop_path_rate=0.1,
)
_BOTH = dict(mlp_ratios=[8, 8, 4, 4])
ARCH = {
    'small': dict(_BOTH, embed_dims=[64, 128, 320, 448], depths=[3, 4, 6, 3], num_heads=[2, 4, 10, 14], stem_dims=32),
    'base': dict(_BOTH, embed_dims=[64, 128, 320, 512], depths=[3, 4, 12, 3], num_heads=[2, 4, 10, 16], stem_dims=64),
}


class SpectralMixer(nn.Module):
    """Half of the channels convolved, the other half filtered in their cosine spectrum; (B, H, W, C) to the same shape.

    A depthwise 3x3 convolution sees the first half; the second is transformed by a 2-D DCT, multiplied by a learned
    table and transformed back. As released the two are interleaved, channel by channel. For another size of the map the
    table is resized, which the authors' code does not do.

    Args:
        embed_dims: C, even.
        size: rows and columns of the table.
    """

    def __init__(self, embed_dims: int, size: int) -> None:
        super().__init__()
        half = embed_dims // 2
        self.conv = nn.Conv2d(half, half, 3, padding=1, groups=half)
        self.filter = nn.Parameter(0.02 * torch.randn(half, size, size))

    def forward(self, x: Tensor) -> Tensor:
        near, far = x.permute(0, 3, 1, 2).chunk(2, dim=1)  # (B, H, W, C) -> 2 x (B, C / 2, H, W)
        y = torch.stack([self.conv(near), self._filtered(far)], dim=2)
        return y.flatten(1, 2).permute(0, 2, 3, 1)

    def _filtered(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        table = self.filter
        if table.shape[1:] != (height, width):
            table = F.interpolate(table[None], size=(height, width), mode='bicubic', align_corners=False)[0]
        with torch.autocast(x.device.type, enabled=False):
            wide = x.to(torch.promote_types(x.dtype, torch.float32))
            rows, cols = (cosines(size, wide) for size in (height, width))
            spectrum = rows @ wide @ cols.T * table.to(wide.dtype)
            return (rows.T @ spectrum @ cols).to(x.dtype)


def cosines(size: int, like: Tensor) -> Tensor:
    """(size, size): row k is the k-th basis vector of the orthonormal DCT of type II."""
    places = torch.arange(size, dtype=torch.float64, device=like.device)
    basis = torch.cos(math.pi / size * (places + 0.5) * places[:, None]) * math.sqrt(2 / size)
    basis[0] /= math.sqrt(2)
    return basis.to(like.dtype)


class MapAttention(Attention):
    """Attention among all pixels of (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2)).view(x.shape)


@MODELS.register_module()
class HeraclesClassBlock(nn.Module):
    """A class token, the map's mean, attends to itself and the pixels; for a classifier's head, (B, H, W, C) to (B, C).

    Args:
        embed_dims: C.
        num_heads: of the attention.
        mlp_ratio: of the MLP behind it.
    """

    def __init__(self, embed_dims: int, num_heads: int, *, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.mixer = Attention(embed_dims, num_heads)
        self.norm2 = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio))

    def forward(self, x: Tensor) -> Tensor:
        pixels = x.flatten(1, 2)
        token = pixels.mean(1, keepdim=True)  # (B, 1, C)
        token = token + self.mixer(self.norm1(torch.cat([token, pixels], dim=1)), queries=1)
        return (token + self.mlp(self.norm2(token))).squeeze(1)


@MODELS.register_module()
class Heracles(PyramidBackbone):
    """Heracles backbone: (B, in_channels, H, W) of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4 to 32.

    Args:
        arch: ``small``, ``base``, or a dict with ``embed_dims``, ``depths``, ``num_heads``, ``mlp_ratios`` (a number
            per stage), ``stem_dims`` and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        out_indices: stages whose maps are returned; negative counts from the end.
        final_norm: norm the last map; the classifier does so only behind its class block, in :class:`ClassBlockHead`.
        frozen_stages: -1 freezes nothing, 0 the stem, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, a stage index, ``frozen_stages`` or the drop path rate does not exist.
    """

    def __init__(
        self,
        arch: str | dict = 'small',
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        final_norm: bool = True,
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depths = arch['embed_dims'], arch['depths']
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths))
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            blocks = [
                PreNormBlock(
                    dims[i],
                    _mixer(arch, i),
                    ConvMlp(dims[i], int(dims[i] * arch['mlp_ratios'][i])),
                    eps=(NORM_EPS, NORM_EPS),
                    drop_path_rate=rates[layer],
                )
                for layer in range(first, first + depth)
            ]
            downsample = ConvDownsample(*dims[i : i + 2]) if i + 1 < len(depths) else None
            stages.append(NormedStage(blocks, downsample, with_cp, dims[i]))
        super().__init__(
            *(DeepStem(in_channels, dims[0], arch['stem_dims']), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )
        last = len(depths) - 1
        for i in self.out_indices:
            self.out_norms[str(i)] = LayerNorm(dims[i], NORM_EPS) if i == last and final_norm else nn.Identity()
        self.freeze()


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, per_stage=('num_heads', 'mlp_ratios'))


def _mixer(arch: dict, stage: int) -> nn.Module:
    dims = arch['embed_dims'][stage]
    if stage < FILTER_STAGES:
        return SpectralMixer(dims, arch['img_size'] // (4 * 2**stage))
    return MapAttention(dims, arch['num_heads'][stage])
