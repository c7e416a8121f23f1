"""MedMamba: Vision Mamba for Medical Image Classification.

Paper: Yue and Li, 2024, https://arxiv.org/abs/2403.03849.
Authors' code: YubiaoYue/MedMamba. Layout inside: channels-last (B, H, W, C).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import SS2D, BatchNorm, LayerNorm, PatchEmbed, PatchMerging
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    d_state=16,
    ssm_ratio=2.0,
    dt_rank='auto',
    conv_bias=True,
    patch_size=4,
    drop_path_rate=0.1,
)


def _arch(width: int, third_depth: int) -> dict:
    return dict(embed_dims=[width, 2 * width, 4 * width, 8 * width], depths=[2, 2, third_depth, 2])


ARCH = {'tiny': _arch(96, 4), 'small': _arch(96, 8), 'base': _arch(128, 12)}


class ConvBranch(nn.Module):
    """BatchNorm; twice a 3x3 convolution, BatchNorm, ReLU; a linear layer, ReLU; (B, H, W, C) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1 = BatchNorm(channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm2 = BatchNorm(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm3 = BatchNorm(channels)
        self.fc = nn.Linear(channels, channels)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        for conv, norm in ((self.conv1, self.norm2), (self.conv2, self.norm3)):
            x = self.act(norm(conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)))
        return self.act(self.fc(x))


class MedMambaBlock(nn.Module):
    """Half of the channels through convolutions, half through ``SS2D(LN(.))``, shuffled, added to the input."""

    def __init__(self, embed_dims: int, arch: dict, scan: ScanSpec, drop_path_rate: float) -> None:
        super().__init__()
        if embed_dims % 2:
            raise ValueError(f'embed_dims {embed_dims} of a stage must be even, for its two branches')
        half = embed_dims // 2
        self.conv = ConvBranch(half)
        self.norm = LayerNorm(half, narrow=True)
        mixer = {key: arch[key] for key in ('d_state', 'ssm_ratio', 'dt_rank', 'conv_bias')}
        self.mixer = SS2D(half, scan=scan, gate=True, **mixer)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        left, right = x.chunk(2, dim=-1)  # (B, H, W, C) -> twice (B, H, W, C / 2)
        branches = [self.conv(left), self.drop_path(self.mixer(self.norm(right)))]
        return x + torch.stack(branches, dim=-1).flatten(-2)  # channels of the branches in turn


@MODELS.register_module()
class MedMamba(PyramidBackbone):
    """MedMamba backbone: images of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: ``tiny``, ``small``, ``base``, or a dict with ``embed_dims`` and ``depths`` (a number per stage) and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the scan of every block, as in ``VMamba``.
        normed: pass each map through a LayerNorm of its own. The published model, a classifier, has none; detection and
            segmentation profit.
        out_indices: stages whose maps are returned; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0, in the scanning branch; None is the published rate.
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
        scan: ScanSpec = 'cross',
        normed: bool = False,
        out_indices: Sequence[int] = (0, 1, 2, 3),
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
            layers = range(first, first + depth)
            blocks = [MedMambaBlock(dims[i], arch, scan_of_layer(scan, n, depths), rates[n]) for n in layers]
            downsample = PatchMerging(*dims[i : i + 2], pad=False) if i + 1 < len(depths) else None
            stages.append(Stage(blocks, downsample, with_cp))
        super().__init__(
            *(PatchEmbed(in_channels, dims[0], arch['patch_size']), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            normed=None if normed else (),
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS)
