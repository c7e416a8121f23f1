"""MambaVision: a hybrid of convolutions, Mamba mixers and attention.

Paper: Hatamizadeh and Kautz, "MambaVision: A Hybrid Mamba-Transformer Vision Backbone", CVPR 2025,
https://arxiv.org/abs/2407.08083. Written from published facts, not from the authors' code (NVIDIA, non-commercial).
Layout inside: channels-last (B, H, W, C).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers import Attention, LayerNorm, Mlp, Stem
from mmmamba.layers.scans import SelectiveScans, StateSpace, build_layer_scan
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.registry import MODELS
from mmmamba.scans import Scan, ScanSpec, scan_of_layer

CONV_STAGES = 2  # the first two stages are convolutional, the others hybrid

# What an arch dict may say and, for all but the first five, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    num_heads=None,  # of the attention in each stage; the convolutional stages do not look at it
    window_sizes=None,  # of each stage, likewise
    stem_dims=None,  # channels between the two convolutions of the stem
    d_state=8,
    conv_size=3,
    mlp_ratio=4.0,
    qkv_bias=True,
    layer_scale=0.0,  # initial value of the factors of the hybrid blocks' branches; 0: no factors
    conv_layer_scale=0.0,  # likewise of the convolutional blocks
    drop_path_rate=0.0,
)


def _arch(width: int, stem: int, depths: Sequence[int], first_heads: int, rate: float, **differences) -> dict:
    return dict(
        embed_dims=[width * 2**i for i in range(4)],
        depths=list(depths),
        num_heads=[first_heads * 2**i for i in range(4)],
        window_sizes=[8, 8, 14, 7],
        stem_dims=stem,
        drop_path_rate=rate,
        **differences,
    )


ARCH = {
    'tiny': _arch(80, 32, (1, 3, 8, 4), 2, 0.2),
    'tiny2': _arch(80, 32, (1, 3, 11, 4), 2, 0.2),
    'small': _arch(96, 64, (3, 3, 7, 5), 2, 0.2),
    'base': _arch(128, 64, (3, 3, 10, 5), 2, 0.3, layer_scale=1e-5),
    'large': _arch(196, 64, (3, 3, 10, 5), 4, 0.3, layer_scale=1e-5),
    'large2': _arch(196, 64, (3, 3, 12, 5), 4, 0.3, layer_scale=1e-5),
}


class MambaVisionStem(Stem):
    """Two 3x3 convolutions of stride 2, each with BatchNorm and ReLU: (B, C, H, W) to (B, H / 4, W / 4, C')."""

    def __init__(self, in_channels: int, hidden_dims: int, embed_dims: int) -> None:
        super().__init__(in_channels)
        self.conv1 = nn.Conv2d(in_channels, hidden_dims, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(hidden_dims, eps=1e-4)
        self.conv2 = nn.Conv2d(hidden_dims, embed_dims, 3, stride=2, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(embed_dims, eps=1e-4)

    def embed(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(x))).permute(0, 2, 3, 1)  # (B, C, H, W) -> (B, H, W, C)


class BareDownsample(nn.Conv2d):
    """A 3x3 convolution of stride 2 without bias or norm, of a channels-last map; sizes are rounded up."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class LayerScale(nn.Module):
    """A learned factor per channel of the last dimension."""

    def __init__(self, channels: int, initial_value: float) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((channels,), float(initial_value)))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class ConvBlock(nn.Module):
    """``x + BN(conv(GELU(BN(conv(x)))))`` with the tanh GELU; (B, H, W, C) to the same shape."""

    def __init__(self, embed_dims: int, layer_scale: float, drop_path_rate: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(embed_dims, embed_dims, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(embed_dims)
        self.conv2 = nn.Conv2d(embed_dims, embed_dims, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(embed_dims)
        self.scale = _layer_scale(embed_dims, layer_scale)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        y = F.gelu(self.norm1(self.conv1(x.permute(0, 3, 1, 2))), approximate='tanh')
        y = self.norm2(self.conv2(y)).permute(0, 2, 3, 1)
        return x + self.drop_path(self.scale(y))


class MambaVisionMixer(SelectiveScans):
    """Half of the channels scanned, the other half convolved only, both side by side: (B, H, W, C) to the same shape.

    Both halves pass a depthwise convolution along the raster that sees both neighbours and has no bias. There is no
    gate, and, as released, the bias of the step sizes counts twice.

    Args:
        embed_dims: C, even.
        scan: of the first half; every route has its own parameters.
        d_state: size of the state per channel.
        conv_size: steps that the convolutions see.
    """

    def __init__(self, embed_dims: int, scan: ScanSpec, d_state: int, conv_size: int) -> None:
        super().__init__()
        inner = embed_dims // 2
        state = StateSpace(d_state, math.ceil(embed_dims / 16))
        self.in_proj = nn.Linear(embed_dims, 2 * inner, bias=False)
        self.conv_x = nn.Conv1d(inner, inner, conv_size, padding='same', groups=inner, bias=False)
        self.conv_z = nn.Conv1d(inner, inner, conv_size, padding='same', groups=inner, bias=False)
        self.scan = build_layer_scan(scan, inner, state)
        if isinstance(self.scan, Scan):
            self.add_scans(inner, len(self.scan), state)
        self.out_proj = nn.Linear(2 * inner, embed_dims, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        x, z = self.in_proj(x).flatten(1, 2).transpose(1, 2).chunk(2, dim=1)  # (B, H, W, C) -> twice (B, C / 2, L)
        x, z = (F.silu(conv(half)).transpose(1, 2) for conv, half in ((self.conv_x, x), (self.conv_z, z)))
        x, z = (half.unflatten(1, (height, width)) for half in (x, z))
        if isinstance(self.scan, Scan):
            x = self.scan_along(x, self.scan.tables(height, width, device=x.device, redraw=self.training))
        else:
            x = self.scan(x)
        return self.out_proj(torch.cat([x, z], dim=-1))

    def scan_parameters(self, sets: slice, routes: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As they are, with twice the bias of the step sizes: the authors add it in the projection and in the scan."""
        x_proj, dt_proj, dt_bias, A, D = super().scan_parameters(sets, routes)
        return x_proj, dt_proj, 2 * dt_bias, A, D


class WindowAttention(Attention):
    """Attention among all pixels of (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2)).view(x.shape)


class HybridBlock(nn.Module):
    """``x + mixer(LN(x))``, then ``x + MLP(LN(x))``, each branch scaled; (B, H, W, C) to the same shape."""

    def __init__(self, mixer: nn.Module, embed_dims: int, arch: dict, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, narrow=True)
        self.mixer = mixer
        self.scale1 = _layer_scale(embed_dims, arch['layer_scale'])
        self.norm2 = LayerNorm(embed_dims, narrow=True)
        self.mlp = Mlp(embed_dims, int(embed_dims * arch['mlp_ratio']))
        self.scale2 = _layer_scale(embed_dims, arch['layer_scale'])
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.scale1(self.mixer(self.norm1(x))))
        return x + self.drop_path(self.scale2(self.mlp(self.norm2(x))))


class WindowedStage(Stage):
    """Hybrid blocks inside windows of a map (B, H, W, C), to the same shape.

    The map is padded with zeros at the bottom and right to whole windows, once for all blocks. As published nothing
    masks these pixels: the blocks fill them, and scan and attention read them.
    """

    def __init__(
        self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool, window_size: int
    ) -> None:
        super().__init__(blocks, downsample, with_cp)
        self.window_size = window_size

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        size = self.window_size
        x = F.pad(x, (0, 0, 0, -width % size, 0, -height % size))
        rows, cols = x.shape[1] // size, x.shape[2] // size
        x = x.unflatten(2, (cols, size)).unflatten(1, (rows, size)).transpose(2, 3)  # (B, rows, cols, size, size, C)
        x = super().forward(x.flatten(0, 2)).unflatten(0, (-1, rows, cols))
        return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)[:, :height, :width]


@MODELS.register_module()
class MambaVision(PyramidBackbone):
    """MambaVision backbone: (B, in_channels, H, W) of any size to (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: a published architecture, ``tiny``, ``tiny2``, ``small``, ``base``, ``large``, ``large2``, or a dict with
            ``embed_dims``, ``depths``, ``num_heads``, ``window_sizes`` (a number per stage), ``stem_dims`` and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: of the Mamba mixers, inside their windows: as for :class:`VMamba`. Published: the raster.
        window_sizes: in place of the arch's; the authors' detectors and segmentors have larger ones.
        out_indices: stages whose maps are returned, each through a norm of its own; negative counts from the end.
        out_norm: ``'LN'`` as for the authors' dense tasks, ``'BN'`` as in their classifier.
        frozen_stages: -1 freezes nothing, 0 the stem, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, a stage index, ``frozen_stages``, the norm or the drop path rate does not exist.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'raster',
        window_sizes: Sequence[int] | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        out_norm: str = 'LN',
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        if window_sizes is not None:
            arch = resolve_arch({**arch, 'window_sizes': list(window_sizes)})
        dims, depths = arch['embed_dims'], arch['depths']
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths))
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            blocks = [
                _block(arch, i, j, scan_of_layer(scan, first + j, depths), rates[first + j]) for j in range(depth)
            ]
            downsample = BareDownsample(*dims[i : i + 2]) if i + 1 < len(depths) else None
            if i < CONV_STAGES:
                stages.append(Stage(blocks, downsample, with_cp))
            else:
                stages.append(WindowedStage(blocks, downsample, with_cp, arch['window_sizes'][i]))
        super().__init__(
            *(MambaVisionStem(in_channels, arch['stem_dims'], dims[0]), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            out_norm=out_norm,
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, per_stage=('num_heads', 'window_sizes'))


def _block(arch: dict, stage: int, index: int, scan: ScanSpec, drop_path_rate: float) -> nn.Module:
    dims = arch['embed_dims'][stage]
    if stage < CONV_STAGES:
        return ConvBlock(dims, arch['conv_layer_scale'], drop_path_rate)
    first_attention = (arch['depths'][stage] + 1) // 2  # Mamba in the first half, attention in the second
    if index >= first_attention:
        mixer = WindowAttention(dims, arch['num_heads'][stage], qkv_bias=arch['qkv_bias'])
    else:
        mixer = MambaVisionMixer(dims, scan, arch['d_state'], arch['conv_size'])
    return HybridBlock(mixer, dims, arch, drop_path_rate)


def _layer_scale(channels: int, initial_value: float) -> nn.Module:
    return LayerScale(channels, initial_value) if initial_value else nn.Identity()
