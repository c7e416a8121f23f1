"""MSVMamba: Multi-Scale VMamba, hierarchy in hierarchy visual state space model.

Paper: Shi, Dong and Xu, NeurIPS 2024, https://arxiv.org/abs/2405.14174.
Authors' code: YuHengsss/MSVMamba, its first release and branch v2 ("v3" models). Layout inside: channels-last.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import NORMS, SS2D, ConvMlp, LayerNorm
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import PyramidBackbone, Stage, drop_path_rates
from mmmamba.models.backbones.vmamba import PATCH_EMBEDS, build_downsample
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    version='v1',  # of the scan: 'v1' is the first release, 'v3' that of the paper's final version
    d_state=1,
    ssm_ratio=2.0,
    dt_rank='auto',
    conv_bias=True,
    gate=True,
    mlp_ratio=2.0,
    squeeze=True,  # squeeze and excitation behind the scan
    patch_embed='v1',
    patch_size=4,
    downsample='v1',
    norm='LN',  # of the patch embedding and the downsampling
    drop_path_rate=0.2,
)
# 'v1' norms each branch, then adds them, the small one bilinearly enlarged; 'v3' adds first and enlarges by repetition.
INTERPOLATION = {'v1': 'bilinear', 'v3': 'nearest'}


def _arch(width: int, depths: list[int], **differences) -> dict:
    return dict(embed_dims=[width * 2**i for i in range(4)], depths=depths, **differences)


_V3 = dict(version='v3', ssm_ratio=1.0, conv_bias=False, gate=False, mlp_ratio=4.0, patch_embed='v2', downsample='v3')

ARCH = {
    'nano': _arch(48, [1, 2, 5, 2]),
    'micro': _arch(64, [1, 2, 5, 2]),
    'tiny': _arch(96, [1, 2, 9, 2]),
    'v3_tiny': _arch(96, [2, 2, 9, 2], **_V3),
    'v3_small': _arch(96, [2, 3, 20, 2], **_V3, drop_path_rate=0.4),
    'v3_base': _arch(128, [2, 4, 18, 2], **{**_V3, 'gate': True}, drop_path_rate=0.5),
}


class MSVMambaBlock(nn.Module):
    """``x + SS2D(LN(x))``, then ``x + ConvMlp(LN(x))``; (B, H, W, C) to the same shape."""

    def __init__(self, embed_dims: int, arch: dict, scan: ScanSpec, drop_path_rate: float) -> None:
        super().__init__()
        self.norm1 = LayerNorm(embed_dims, narrow=True)
        mixer = {key: arch[key] for key in ('d_state', 'ssm_ratio', 'dt_rank', 'conv_bias', 'gate')}
        self.mixer = SS2D(embed_dims, scan=scan, **mixer)
        self.norm2 = LayerNorm(embed_dims, narrow=True)
        self.mlp = ConvMlp(embed_dims, int(embed_dims * arch['mlp_ratio']), residual=True)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mixer(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


@MODELS.register_module()
class MSVMamba(PyramidBackbone):
    """MSVMamba backbone: images of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: ``nano``, ``micro``, ``tiny``, ``v3_tiny``, ``v3_small``, ``v3_base``, or a dict with ``embed_dims`` and
            ``depths`` (a number per stage) and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the scan of every block, as in ``VMamba``; None is the arch's multi-scale scan.
        out_indices: stages whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        frozen_stages: -1 freezes nothing, 0 the patch embedding, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's published rate.
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
        scan: ScanSpec | None = None,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depths = arch['embed_dims'], arch['depths']
        if scan is None:
            scan = multi_scale(arch)
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], sum(depths))
        patch_embed = PATCH_EMBEDS[arch['patch_embed']](in_channels, dims[0], arch['patch_size'], arch['norm'])
        stages = []
        for i, depth in enumerate(depths):
            first = sum(depths[:i])
            layers = range(first, first + depth)
            blocks = [MSVMambaBlock(dims[i], arch, scan_of_layer(scan, n, depths), rates[n]) for n in layers]
            downsample = build_downsample(arch, *dims[i : i + 2]) if i + 1 < len(depths) else None
            stages.append(Stage(blocks, downsample, with_cp))
        super().__init__(
            *(patch_embed, stages, dims), out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg
        )


def multi_scale(arch: dict) -> dict:
    """The published scan of an arch: one route at full resolution, three at half."""
    return dict(
        type='multiscale',
        interpolation=INTERPOLATION[arch['version']],
        from_source=True,
        squeeze=8 if arch['squeeze'] else None,
    )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, a value is not one that exists, or the stages do not agree.
    """
    choices = dict(version=INTERPOLATION, patch_embed=PATCH_EMBEDS, downsample=('v1', 'v2', 'v3'), norm=NORMS)
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices)
