"""VMamba: Visual State Space Model.

Paper: Liu et al., "VMamba: Visual State Space Model", NeurIPS 2024, https://arxiv.org/abs/2401.10166.
Authors' code: MzeroMiko/VMamba (MIT). Layout inside: channels-last (B, H, W, C).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import (
    NORMS,
    SS2D,
    ConvDownsample,
    ConvStem,
    LayerNorm,
    Mlp,
    PatchEmbed,
    PatchMerging,
    add_mlp,
    add_ss2d,
    members_of,
    weights_cast,
)
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.ops import WeightCasts
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    d_state=1,
    ssm_ratio=2.0,
    dt_rank='auto',
    conv_bias=False,
    gate=False,
    state_dropout=0.0,
    weight_norm=False,
    mlp_ratio=4.0,  # 0: blocks without an MLP
    patch_embed='v2',
    patch_size=4,
    downsample='v3',
    norm='LN',  # of the patch embedding and the downsampling: 'BN' learns faster from scratch
    drop_path_rate=0.0,
)


def _arch(width: int, third_depth: int, drop_path_rate: float, **differences) -> dict:
    embed_dims = [width, 2 * width, 4 * width, 8 * width]
    return dict(embed_dims=embed_dims, depths=[2, 2, third_depth, 2], drop_path_rate=drop_path_rate, **differences)


_V0 = dict(d_state=16, conv_bias=True, gate=True, mlp_ratio=0.0, patch_embed='v1', downsample='v1')

# Published architectures; "s2l15" is ssm_ratio 2 with 15 blocks in the third stage, "v0" the first release.
ARCH = {
    'tiny_s1l8': _arch(96, 8, 0.2, ssm_ratio=1.0),
    'tiny_s2l5': _arch(96, 5, 0.2),
    'small_s2l15': _arch(96, 15, 0.3),
    'small_s1l20': _arch(96, 20, 0.3, ssm_ratio=1.0),
    'base_s2l15': _arch(128, 15, 0.6),
    'base_s1l20': _arch(128, 20, 0.5, ssm_ratio=1.0),
    'v0_tiny': _arch(96, 9, 0.2, **_V0),
    'v0_small': _arch(96, 27, 0.3, **_V0),
    'v0_base': _arch(128, 27, 0.6, **_V0),
}
ARCH.update(tiny=ARCH['tiny_s1l8'], small=ARCH['small_s2l15'], base=ARCH['base_s2l15'])

PATCH_EMBEDS = {'v1': PatchEmbed, 'v2': ConvStem}


class VMambaBlock(nn.Module):
    """``x + SS2D(LN(x))``, then ``x + MLP(LN(x))`` where there is an MLP; (B, H, W, C) to the same shape."""

    def __init__(self, embed_dims: int, arch: dict, scan: ScanSpec, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, narrow=True)
        mixer_keys = ('d_state', 'ssm_ratio', 'dt_rank', 'conv_bias', 'gate', 'state_dropout', 'weight_norm')
        self.mixer = SS2D(embed_dims, scan=scan, **{key: arch[key] for key in mixer_keys})
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')
        self.mlp = None
        if arch['mlp_ratio'] > 0:
            self.norm2 = LayerNorm(embed_dims, narrow=True)
            self.mlp = Mlp(embed_dims, int(embed_dims * arch['mlp_ratio']))

    def forward(self, x: Tensor) -> Tensor:
        norm1, mixer, norm2, mlp, drop_path = members_of(self, 'norm1', 'mixer', 'norm2', 'mlp', 'drop_path')
        x = add_ss2d(x, norm1, mixer, drop_path)
        return x if mlp is None else add_mlp(x, norm2, mlp, drop_path)


@MODELS.register_module()
class VMamba(PyramidBackbone):
    """VMamba backbone: (B, in_channels, H, W) of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: a published architecture, ``tiny`` (= ``tiny_s1l8``), ``tiny_s2l5``, ``small`` (= ``small_s2l15``),
            ``small_s1l20``, ``base`` (= ``base_s2l15``), ``base_s1l20``, ``v0_tiny``, ``v0_small``, ``v0_base``, or a
            dict with ``embed_dims`` and ``depths`` (a number per stage) and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the scan of every block: a name, ``'cross'``, ``'atrous:2'``, a list of routes, ``['raster',
            'window:7.reverse']``, or a dict. Different ones by block or stage: ``dict(type='per_stage', scans=[...])``,
            ``'per_stage:window:7+raster/cross/cross/cross'``, ``'alternating:raster/raster.transpose'``;
            :func:`mmmamba.scans.scan_of_layer` says more.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

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
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths))
        patch_embed = PATCH_EMBEDS[arch['patch_embed']](in_channels, dims[0], arch['patch_size'], arch['norm'])
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            layers = range(first, first + depth)
            blocks = [VMambaBlock(dims[i], arch, scan_of_layer(scan, layer, depths), rates[layer]) for layer in layers]
            downsample = build_downsample(arch, *dims[i : i + 2]) if i + 1 < len(depths) else None
            stages.append(Stage(blocks, downsample, with_cp))
        super().__init__(
            *(patch_embed, stages, dims), out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg
        )
        self._weight_casts = WeightCasts()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        branches = [branch for block in self.blocks() for branch in members_of(block, 'mixer', 'mlp') if branch]
        with weights_cast(x, branches, self._weight_casts):
            return super().forward(x)


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, a value is not one that exists, or the stages do not agree.
    """
    return base.resolve_arch(
        arch, ARCH, ARCH_DEFAULTS, dict(patch_embed=PATCH_EMBEDS, downsample=('v1', 'v2', 'v3'), norm=NORMS)
    )


def build_downsample(arch: dict, in_channels: int, out_channels: int) -> nn.Module:
    """The downsampling between two stages that an arch names: ``v1``, ``v2`` or ``v3``."""
    if arch['downsample'] == 'v1':
        return PatchMerging(in_channels, out_channels, arch['norm'])
    return ConvDownsample(in_channels, out_channels, 2 if arch['downsample'] == 'v2' else 3, arch['norm'])
