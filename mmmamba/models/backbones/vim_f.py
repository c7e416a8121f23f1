"""Vim-F: Vim on a convolutional stem, whose first layers add the spectrum of the sequence before they mix it.

Paper: Zhang et al., "Vim-F: Visual State Space Model Benefiting from Learning in the Frequency Domain", 2024,
https://arxiv.org/abs/2405.18679. Authors' code: yws-wxs/Vim-F. Layout inside: token sequences (B, L, C).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers import ExtraTokens, LayerNorm, Stem
from mmmamba.models.backbones import base
from mmmamba.models.backbones.token_backbone import TokenBackbone
from mmmamba.models.backbones.vim import MIXER_DEFAULTS, bidirectional_layers
from mmmamba.registry import MODELS

STEM_DIMS = 48
STEM_EPS = 1e-6

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    stride=16,  # of the stem: 16, or 8
    frequency_layers=8,  # the first layers, which add the spectrum
    class_token='middle',  # 'middle', 'head', 'ends' or 'none'
    pool='mean',  # without a class token: 'mean' or 'last'
    bidirectional=True,
    average=True,  # of the two directions; False: their sum
    norm='RMS',
    norm_eps=1e-5,
    layer_scale=0.0,  # 0: none
    drop_path_rate=0.0,
    **MIXER_DEFAULTS,
)
ARCH = {
    'tiny': dict(embed_dims=192, num_layers=24),
    'small': dict(embed_dims=384, num_layers=24, drop_path_rate=0.05),
    'tiny_stride8': dict(embed_dims=192, num_layers=24, stride=8),
    'small_stride8': dict(embed_dims=384, num_layers=24, stride=8),
}


class HalvingStep(nn.Module):
    """A 2x2 convolution of stride 2, LayerNorm, a linear layer and GELU; (B, H, W, C) to (B, H / 2, W / 2, C')."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 2, stride=2)
        self.norm = LayerNorm(out_channels, STEM_EPS)
        self.proj = nn.Conv2d(out_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        return F.gelu(self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class VimFStem(Stem):
    """A 7x7 convolution and two halvings: (B, C, H, W) to (B, H', W', embed_dims), padded with zeros to one patch.

    Args:
        in_channels: of the image.
        embed_dims: of the map.
        stride: in all, a multiple of 4.
    """

    def __init__(self, in_channels: int, embed_dims: int, stride: int) -> None:
        super().__init__(in_channels)
        self.stride = stride
        self.conv = nn.Conv2d(in_channels, STEM_DIMS, 7, stride=stride // 4, padding=3)
        self.norm = LayerNorm(STEM_DIMS, STEM_EPS)
        self.steps = nn.Sequential(HalvingStep(STEM_DIMS, embed_dims // 2), HalvingStep(embed_dims // 2, embed_dims))

    def embed(self, x: Tensor) -> Tensor:
        missing_rows, missing_cols = (max(0, self.stride - size) for size in x.shape[2:])
        x = self.conv(F.pad(x, (0, missing_cols, 0, missing_rows)))
        return self.steps(self.norm(x.permute(0, 2, 3, 1)))


class FrequencyMix(nn.Module):
    """``proj(a x + b |FFT(x)|)``, the orthonormal transform over tokens and channels; (B, L, C) to the same shape."""

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.scales = nn.Parameter(torch.ones(2))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # there is no FFT of other lengths in half precision
        spectrum = torch.fft.fft2(wide, norm='ortho').abs()
        return self.proj((self.scales[0] * wide + self.scales[1] * spectrum).to(x.dtype))


@MODELS.register_module()
class VimF(TokenBackbone):
    """Vim-F backbone: (B, in_channels, H, W) of any size to maps (B, C, H / stride, W / stride). No position embedding.

    Args:
        arch: ``tiny``, ``small``, these with ``_stride8``, or a dict with ``embed_dims``, ``num_layers`` and any other
            keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        out_indices: layers whose maps are returned, each through a norm of its own; negative counts from the end.
        out_type: ``featmap``, or ``pooled``: the class token, (B, C), for a classifier.
        frozen_stages: -1 freezes nothing, 0 the embeddings, i the first i layers as well.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, a layer index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (-1,),
        out_type: str = 'featmap',
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims = arch['embed_dims']
        layers = bidirectional_layers(arch, drop_path_rate)
        for layer in layers[: arch['frequency_layers']]:
            layer.norm = nn.Sequential(layer.norm, FrequencyMix(dims))
        super().__init__(
            VimFStem(in_channels, dims, arch['stride']),
            layers,
            dims,
            tokens=None if arch['class_token'] == 'none' else ExtraTokens(dims, arch['class_token']),
            norm=arch['norm'],
            norm_eps=arch['norm_eps'],
            out_indices=out_indices,
            out_type=out_type,
            pool_last=arch['pool'] == 'last',
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    choices = dict(norm=('LN', 'RMS'), class_token=('middle', 'head', 'ends', 'none'), pool=('mean', 'last'))
    arch = base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices)
    if arch['stride'] < 4 or arch['stride'] % 4:
        raise ValueError(f'arch: stride {arch["stride"]!r} is not a multiple of 4, by which the stem halves twice')
    return arch
