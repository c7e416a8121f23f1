"""EfficientVMamba: Atrous Selective Scan for Light Weight Visual Mamba.

Paper: Pei, Huang and Xu, AAAI 2025, https://arxiv.org/abs/2403.09977.
Authors' code: TerryPei/EfficientVMamba. Layout inside: channels-last (B, H, W, C).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import SS2D, BatchNorm, ChannelGate, LayerNorm, PatchEmbed, PatchMerging, SqueezeExcite
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage; the first two scan, those after them convolve
    d_state=16,
    ssm_ratio=2.0,
    dt_rank='auto',
    conv_bias=True,
    patch_size=4,
    drop_path_rate=0.1,
)
SCANNING_STAGES = 2


def _arch(width: int, third_depth: int) -> dict:
    return dict(embed_dims=[width, 2 * width, 4 * width, 8 * width], depths=[2, 2, third_depth, 2])


# The paper gives small a width of 96; its released weights and parameter count have 64.
ARCH = {'tiny': _arch(48, 4), 'small': _arch(64, 4), 'base': _arch(96, 9)}


class DepthwiseConv(nn.Module):
    """Depthwise 3x3 convolution, BatchNorm, activation on (B, H, W, C)."""

    def __init__(self, channels: int, act: nn.Module, *, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=bias)
        self.norm = BatchNorm(channels)
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)))


class ScanBlock(nn.Module):
    """``x + gate(SS2D(LN(x))) + gate(conv(LN(x)))``, one gate for both; (B, H, W, C) to the same shape."""

    def __init__(self, embed_dims: int, arch: dict, scan: ScanSpec, drop_path_rate: float) -> None:
        super().__init__()
        self.norm = LayerNorm(embed_dims, narrow=True)
        mixer = {key: arch[key] for key in ('d_state', 'ssm_ratio', 'dt_rank', 'conv_bias')}
        self.mixer = SS2D(embed_dims, scan=scan, gate=True, **mixer)
        self.branch = DepthwiseConv(embed_dims, nn.GELU(), bias=True)
        self.branch_fc = nn.Linear(embed_dims, embed_dims)
        self.gate = ChannelGate(embed_dims)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        return x + self.drop_path(self.gate(self.mixer(n)) + self.gate(self.branch_fc(self.branch(n))))


class InvertedResidual(nn.Module):
    """Expand four times, depthwise convolution, squeeze and excitation, reduce; (B, H, W, C) to the same shape.

    Source: Sandler et al., "MobileNetV2" (2018). Its reduced output has no activation.
    """

    def __init__(self, embed_dims: int, drop_path_rate: float) -> None:
        super().__init__()
        hidden = 4 * embed_dims
        self.fc1 = nn.Linear(embed_dims, hidden, bias=False)
        self.norm1 = BatchNorm(hidden)
        self.act = nn.ReLU()
        self.conv = DepthwiseConv(hidden, nn.ReLU(), bias=False)
        self.squeeze = SqueezeExcite(hidden, hidden // 8)
        self.fc2 = nn.Linear(hidden, embed_dims, bias=False)
        self.norm2 = BatchNorm(embed_dims)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        y = self.squeeze(self.conv(self.act(self.norm1(self.fc1(x)))))
        return x + self.drop_path(self.norm2(self.fc2(y)))


@MODELS.register_module()
class EfficientVMamba(PyramidBackbone):
    """EfficientVMamba backbone: images of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: ``tiny``, ``small``, ``base``, or a dict with ``embed_dims`` and ``depths`` (a number per stage) and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the scan of the blocks of the first two stages, as in ``VMamba``; ``'atrous'`` is the published one.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if the arch, a stage index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'atrous',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depths = arch['embed_dims'], arch['depths']
        rates = iter(drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths)))
        stages = []
        for i, (dim, depth) in enumerate(zip(dims, depths, strict=True)):
            if i < SCANNING_STAGES:
                first = sum(depths[:i])
                scans = [scan_of_layer(scan, first + j, depths[:SCANNING_STAGES]) for j in range(depth)]
                blocks = [ScanBlock(dim, arch, own, next(rates)) for own in scans]
            else:
                blocks = [InvertedResidual(dim, next(rates)) for _ in range(depth)]
            downsample = PatchMerging(dim, dims[i + 1]) if i + 1 < len(dims) else None
            stages.append(Stage(blocks, downsample, with_cp))
        super().__init__(
            *(PatchEmbed(in_channels, dims[0], arch['patch_size']), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS)
