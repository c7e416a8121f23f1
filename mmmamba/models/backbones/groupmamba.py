"""GroupMamba: Parameter-Efficient and Accurate Group Visual State Space Model.

Paper: Shaker et al., CVPR 2025, https://arxiv.org/abs/2407.13772.
Authors' code: Amshaker/GroupMamba (MIT). Layout inside: channels-last (B, H, W, C).
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import ConvDownsample, ConvMlp, DeepStem, GroupMambaLayer, LayerNorm
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import NormedStage, PyramidBackbone, drop_path_rates
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, build_scan, scan_of_layer

ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    mlp_ratios=(8, 8, 4, 4),
    stem_dims=64,
    drop_path_rate=0.05,
)
NORM_EPS = 1e-6  # of the norms between mixer and MLP and behind the stages; 1e-5 elsewhere

ARCH = {
    'tiny': dict(embed_dims=[64, 128, 348, 448], depths=[3, 4, 9, 3], stem_dims=32),
    'small': dict(embed_dims=[64, 128, 348, 512], depths=[3, 4, 16, 3]),
    'base': dict(embed_dims=[96, 192, 424, 512], depths=[3, 6, 21, 3]),
}


class GroupMambaBlock(nn.Module):
    """``x + GroupMambaLayer(x)``, which norms x itself, then ``x + ConvMlp(LN(x))``; (B, H, W, C) to the same shape."""

    def __init__(self, embed_dims: int, routes: Sequence[str], mlp_ratio: float, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer = GroupMambaLayer(embed_dims, routes)
        self.norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.mlp = ConvMlp(embed_dims, int(embed_dims * mlp_ratio))
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(x))
        return x + self.drop_path(self.mlp(self.norm(x)))


@MODELS.register_module()
class GroupMamba(PyramidBackbone):
    """GroupMamba backbone: images of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    The maps of all stages but the last are normed where they go on to the next stage. What follows the last one in the
    published classifier, a block for a class token, is ``GroupMambaClsHead``.

    Args:
        arch: ``tiny``, ``small``, ``base``, or a dict with ``embed_dims`` and ``depths`` (a number per stage) and any
            other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the routes of the groups, one each: a name, ``'cross'``, or a list of routes, or one for each stage or
            layer as in ``VMamba``.
        normed: pass the last map through a LayerNorm of its own, for detection and segmentation; the published
            classifier has none there.
        out_indices: stages whose maps are returned; negative counts from the end.
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
        last = len(depths) - 1
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            layers = range(first, first + depth)
            routes = [build_scan(scan_of_layer(scan, n, depths)).names for n in layers]
            blocks = [
                GroupMambaBlock(dims[i], own, arch['mlp_ratios'][i], rates[n])
                for own, n in zip(routes, layers, strict=True)
            ]
            downsample = ConvDownsample(*dims[i : i + 2]) if i < last else None
            stages.append(NormedStage(blocks, downsample, with_cp, dims[i]))
        super().__init__(
            *(DeepStem(in_channels, dims[0], arch['stem_dims']), stages, dims),
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            normed=(last,) if normed else (),
            init_cfg=init_cfg,
        )
        self.apply(init_conv)


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, or the stages do not agree.
    """
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, per_stage=('mlp_ratios',))


def init_conv(module: nn.Module) -> None:
    """For ``Module.apply``: normal weights of variance 2 / fan_out, biases of 0, in every convolution, as published."""
    if isinstance(module, nn.Conv2d):
        fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
