"""SiMBA: plain Mamba along the raster for the pixels, an MLP or EinFFT for the channels, in four stages.

Paper: Patro and Agneeswaran, "SiMBA: Simplified Mamba-Based Architecture for Vision and Multivariate Time series",
2024, https://arxiv.org/abs/2403.15360. Authors' code: badripatro/simba. Layout inside: channels-last (B, H, W, C).
"""

from collections.abc import Sequence

from torch import Tensor, nn

from mmmamba.layers import ConvDownsample, ConvMlp, DeepStem, EinFFT, LayerNorm, MapMambaMixer, Mlp
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import NormedStage, PreNormBlock, PyramidBackbone, drop_path_rates
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

CHANNEL_MIXERS = ('mlp', 'einfft')

# What an arch dict may say and, for all but the first four, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,  # channels of each stage
    depths=None,  # blocks of each stage
    mlp_ratios=None,  # of each stage; EinFFT does not look at them
    stem_dims=None,  # channels inside the stem
    channel_mixer='mlp',
    d_state=64,
    drop_path_rate=0.0,
)


def _arch(dims: Sequence[int], depths: Sequence[int], stem: int, rate: float, channel_mixer: str) -> dict:
    return dict(
        embed_dims=list(dims),
        depths=list(depths),
        mlp_ratios=[8, 8, 4, 4],
        stem_dims=stem,
        channel_mixer=channel_mixer,
        drop_path_rate=rate,
    )


# The MLP is what the released code builds.
_SIZES = {
    'small': ((64, 128, 320, 448), (3, 4, 6, 3), 32, 0.1),
    'base': ((64, 128, 320, 512), (3, 4, 12, 3), 64, 0.1),
    'large': ((96, 192, 384, 512), (3, 6, 18, 3), 64, 0.3),
}
ARCH = {
    **{name: _arch(*sizes, 'mlp') for name, sizes in _SIZES.items()},
    **{f'{name}_einfft': _arch(*sizes, 'einfft') for name, sizes in _SIZES.items()},
}


class SiMBABlock(PreNormBlock):
    """Mamba along a route for the pixels, then the channel mixer; (B, H, W, C) to the same shape.

    Args:
        embed_dims: C.
        mlp: the channel mixer.
        scan: one route.
        d_state: of the Mamba mixer.
        drop_path_rate: of both.
    """

    def __init__(
        self,
        embed_dims: int,
        mlp: nn.Module,
        *,
        scan: ScanSpec = 'raster',
        d_state: int = 64,
        drop_path_rate: float = 0,
    ) -> None:
        mixer = MapMambaMixer(embed_dims, scan=scan, d_state=d_state)
        super().__init__(embed_dims, mixer, mlp, eps=(1e-5, 1e-6), drop_path_rate=drop_path_rate)


@MODELS.register_module()
class SiMBAClassBlock(SiMBABlock):
    """A block on the mean of a map alone, for a classifier's head; (B, H, W, C) to (B, C).

    As released: the class token is a sequence of its own, so that the block does not see the pixels again and the
    state of its Mamba mixer never decays.

    Args:
        embed_dims: C.
        mlp_ratio: of its channel mixer if that is an MLP.
        channel_mixer: ``'mlp'`` or ``'einfft'``.
        d_state: of the Mamba mixer.
    """

    def __init__(self, embed_dims: int, *, mlp_ratio: float = 4, channel_mixer: str = 'mlp', d_state: int = 64) -> None:
        is_mlp = channel_mixer == 'mlp'
        mlp = Mlp(embed_dims, int(embed_dims * mlp_ratio)) if is_mlp else EinFFT(embed_dims)
        super().__init__(embed_dims, mlp, d_state=d_state)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mean((1, 2), keepdim=True)).flatten(1)


@MODELS.register_module()
class SiMBA(PyramidBackbone):
    """SiMBA backbone: (B, in_channels, H, W) of any size to a tuple of (B, C_i, H_i, W_i) maps, strides 4, 8, 16, 32.

    Args:
        arch: a published architecture, ``small``, ``base``, ``large``, ``small_einfft``, ``base_einfft``,
            ``large_einfft``, or a dict with ``embed_dims``, ``depths``, ``mlp_ratios`` (a number per stage),
            ``stem_dims`` and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the route of every block, or a schedule of routes, as for :class:`VMamba`. Published: the raster.
        out_indices: stages whose maps are returned; negative counts from the end.
        final_norm: norm the last map; the authors' classifier does so only behind its class block, which
            :class:`ClassBlockHead` holds.
        frozen_stages: -1 freezes nothing, 0 the stem, i the first i stages as well.
        drop_path_rate: of the last block, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each block in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, the scan, a stage index, ``frozen_stages`` or the drop path rate does not exist.
    """

    def __init__(
        self,
        arch: str | dict = 'small',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'raster',
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
                SiMBABlock(
                    dims[i],
                    _channel_mixer(arch, i),
                    scan=scan_of_layer(scan, layer, depths),
                    d_state=arch['d_state'],
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
            self.out_norms[str(i)] = LayerNorm(dims[i], 1e-6) if i == last and final_norm else nn.Identity()
        self.freeze()


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, a value is not one that exists, or the stages do not agree.
    """
    choices = dict(channel_mixer=CHANNEL_MIXERS)
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices, per_stage=('mlp_ratios',))


def _channel_mixer(arch: dict, stage: int) -> nn.Module:
    dims = arch['embed_dims'][stage]
    if arch['channel_mixer'] == 'einfft':
        return EinFFT(dims)
    return ConvMlp(dims, int(dims * arch['mlp_ratios'][stage]))
