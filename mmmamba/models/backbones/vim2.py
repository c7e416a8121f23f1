"""ViM2 (Vision MambaMixer): selective mixers of tokens and of channels, and weighted averages of all earlier outputs.

Paper: Behrouz et al., "MambaMixer: Efficient Selective State Space Models with Dual Token and Channel Selection", 2024,
https://arxiv.org/abs/2403.19888v1, its table of scales. From the paper: no code was released. Layout inside:
channels-last (B, H, W, C).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import SS2D, LayerNorm, PatchEmbed, PatchMerging, SelectiveChannelMixer
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, drop_path_rates, run_block
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

PERIOD = 2  # token mixers for each channel mixer

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # token mixers of each stage
    channel_ratios=(2, 2, 2, 1),  # width of the channel mixers' sequences over the channels, in each stage
    grid=7,  # cells a side that the channel mixers have parameters for
    d_state=16,
    ssm_ratio=2.0,
    drop_path_rate=0.0,
)
ARCH = {
    'tiny': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 6, 2], drop_path_rate=0.2),
    'small': dict(embed_dims=[96, 192, 384, 768], depths=[2, 2, 18, 2], drop_path_rate=0.3),
    'base': dict(embed_dims=[128, 256, 512, 1024], depths=[2, 2, 18, 2], drop_path_rate=0.6),
}


class MixerBlock(nn.Module):
    """``mixer(LN(x))``, (B, H, W, C) to the same shape; what it is added to is the stage's to say."""

    def __init__(self, embed_dims: int, mixer: nn.Module, drop_path_rate: float) -> None:
        super().__init__()
        self.norm = LayerNorm(embed_dims, narrow=True)
        self.mixer = mixer
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        return self.drop_path(self.mixer(self.norm(x)))


class AveragingStage(nn.Module):
    """Blocks, each of which reads a weighted sum of the stage's input and all earlier outputs; the last one leaves.

    With all weights 1, as they start, this is a residual network.

    Args:
        blocks: of the stage.
        downsample: leads to the next stage; None in the last.
        with_cp: recompute each block in the backward pass.
    """

    def __init__(self, blocks: Sequence[nn.Module], downsample: nn.Module | None, with_cp: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.averages = nn.ParameterList(torch.ones(i + 1) for i in range(len(blocks) + 1))
        self.downsample = downsample
        self.with_cp = with_cp

    def forward(self, x: Tensor) -> Tensor:
        earlier = [x]
        *before, last = self.averages
        for block, weights in zip(self.blocks, before, strict=True):
            earlier.append(run_block(block, _weighted_sum(earlier, weights), with_cp=self.with_cp))
        return _weighted_sum(earlier, last)


def _weighted_sum(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    return sum(weight * y for weight, y in zip(weights.unbind(), maps, strict=True))


@MODELS.register_module()
class ViM2(PyramidBackbone):
    """ViM2 backbone: (B, in_channels, H, W) of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: ``tiny``, ``small``, ``base``, or a dict with ``embed_dims`` and ``depths`` (a number per stage) and any
            other keys of ``ARCH_DEFAULTS``. Behind every second of the ``depths`` token mixers stands a channel mixer.
        in_channels: channels of the image.
        scan: of the token mixers, as for :class:`VMamba`.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last mixer, growing linearly from 0; None is the architecture's.
        with_cp: recompute each mixer in the backward pass to save memory.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if the arch, a stage index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'cross',
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depths = arch['embed_dims'], arch['depths']
        mixers = [_mixers(arch, scan, stage) for stage in range(len(depths))]
        rates = iter(drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(map(len, mixers))))
        stages = []
        for i, of_stage in enumerate(mixers):
            blocks = [MixerBlock(dims[i], mixer, next(rates)) for mixer in of_stage]
            downsample = PatchMerging(*dims[i : i + 2]) if i + 1 < len(depths) else None
            stages.append(AveragingStage(blocks, downsample, with_cp))
        super().__init__(
            *(PatchEmbed(in_channels, dims[0]), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, per_stage=('channel_ratios',))


def _mixers(arch: dict, scan: ScanSpec, stage: int) -> list[nn.Module]:
    """Those of one stage: token mixers and, behind every second one, a channel mixer."""
    depths, dims, d_state = arch['depths'], arch['embed_dims'][stage], arch['d_state']
    mixers = []
    for i in range(depths[stage]):
        own = scan_of_layer(scan, sum(depths[:stage]) + i, depths)
        mixers.append(SS2D(dims, d_state=d_state, ssm_ratio=arch['ssm_ratio'], conv_bias=True, gate=True, scan=own))
        if i % PERIOD == PERIOD - 1:
            ratio, grid = arch['channel_ratios'][stage], arch['grid']
            mixers.append(SelectiveChannelMixer(dims, ratio=ratio, grid=grid, d_state=d_state))
    return mixers
