"""Mamba-ND on images: plain Mamba layers that take turns in walking rows and columns, forwards and backwards.

Paper: Li et al., "Mamba-ND: Selective State Space Modeling for Multi-Dimensional Data", ECCV 2024,
https://arxiv.org/abs/2402.05892. Authors' code: jacklishufan/Mamba-ND. Layout inside: channels-last (B, H, W, C), for
clips, whose form stands in `clip_backbones`, (B, T, H, W, C).
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import ClipEmbed, LayerNorm, MapMambaMixer, PatchEmbed, PatchMerging, PositionEmbed
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import drop_path_rates, init_linear, run_block
from mmmamba.models.backbones.plain_backbone import PlainBackbone
from mmmamba.registry import MODELS
from mmmamba.scans import ScanSpec, scan_of_layer

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=8,
    downsample_layers=(9,),  # indices of the layers behind which the map is halved
    d_state=16,
    d_conv=4,
    expand=2,
    out_norm_eps=1e-6,
    drop_path_rate=0.1,
)
ARCH = {
    'small': dict(embed_dims=384, num_layers=24),
    'base': dict(embed_dims=768, num_layers=24),
}


class MambaNDLayer(nn.Module):
    """``LN(x) + mixer(LN(x))`` along one route; (B, H, W, C) or (B, T, H, W, C) to the same shape.

    As released the skip carries the normed map, so that there is no residual stream through the layers.
    """

    def __init__(
        self, arch: dict, scan: ScanSpec, drop_path_rate: float, *, axes: int = 2, mixer_drop_rate: float = 0.0
    ) -> None:
        super().__init__()
        dims = arch['embed_dims']
        self.norm = LayerNorm(dims)
        self.mixer = MapMambaMixer(
            dims, scan=scan, d_state=arch['d_state'], expand=arch['expand'], d_conv=arch['d_conv'], axes=axes
        )
        self.dropout = nn.Dropout(mixer_drop_rate)
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return x + self.drop_path(self.dropout(self.mixer(x)))


class MambaNDBackbone(PlainBackbone):
    """What Mamba-ND does to images and clips alike: patches, positions, layers along a route each, norms of outputs.

    Args:
        arch: complete.
        patch_embed: the stem, whose ``axes`` are those of the routes.
        grid: that the position embedding is learned for.
        downsample_layers: indices of the layers behind which a map is halved.
        scan: as in :class:`MambaND`, and so are the arguments below.
        mixer_drop_rate: of what a layer adds.
    """

    def __init__(
        self,
        arch: dict,
        patch_embed: PatchEmbed | ClipEmbed,
        grid: Sequence[int],
        *,
        downsample_layers: Sequence[int] = (),
        scan: ScanSpec,
        out_indices: Sequence[int],
        final_norm: bool,
        frozen_stages: int,
        drop_rate: float,
        mixer_drop_rate: float = 0.0,
        drop_path_rate: float | None,
        with_cp: bool,
        init_cfg: dict | None,
    ) -> None:
        depth, dims = arch['num_layers'], arch['embed_dims']
        super().__init__(depth, out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        self.embed_dims, self.with_cp = dims, with_cp
        self.patch_embed = patch_embed
        self.pos_embed = PositionEmbed(dims, grid)
        self.dropout = nn.Dropout(drop_rate)
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], depth)
        options = dict(axes=patch_embed.axes, mixer_drop_rate=mixer_drop_rate)
        self.layers = nn.ModuleList(
            MambaNDLayer(arch, scan_of_layer(scan, i, [depth]), rate, **options) for i, rate in enumerate(rates)
        )
        self.downsamples = nn.ModuleDict({str(i): PatchMerging(dims, dims) for i in downsample_layers})
        normed = [i for i in self.out_indices if final_norm or i < depth - 1]
        self.out_norms = nn.ModuleDict({str(i): LayerNorm(dims, arch['out_norm_eps']) for i in normed})
        self.apply(init_linear)
        self.freeze()

    def start(self, image: Tensor) -> tuple[Tensor, None]:
        """Patches with positions, (B, H', W', C) or (B, T', H', W', C)."""
        x = self.patch_embed(image)
        grid = x.shape[1:-1]
        return self.dropout(x + self.pos_embed(grid).unflatten(1, grid)), None

    def run_layer(self, index: int, x: Tensor, context: None) -> tuple[Tensor, Tensor]:
        """One layer, which halves the map first where it follows a halving; twice the same features."""
        if str(index - 1) in self.downsamples:
            x = self.downsamples[str(index - 1)](x)
        x = run_block(self.layers[index], x, with_cp=self.with_cp)
        if index == len(self.layers) - 1 and str(index) in self.downsamples:  # in the authors' code part of the layer
            x = self.downsamples[str(index)](x)
        return x, x

    def output(self, index: int, x: Tensor, context: None) -> Tensor:
        """The map behind a layer, normed where that has a norm, channels-first at the border."""
        out = self.out_norms[str(index)](x) if str(index) in self.out_norms else x
        return out.movedim(-1, 1)

    def depths(self) -> dict[str, int]:
        """As in :class:`Backbone`; what halves the maps stands with the layer before it."""
        return {**super().depths(), **{f'downsamples.{i}': int(i) + 1 for i in self.downsamples}}

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The embeddings, the first layers, what halves their maps, and their output norms."""
        beside = [
            module
            for modules in (self.downsamples, self.out_norms)
            for i, module in modules.items()
            if int(i) < self.frozen_stages
        ]
        return [self.patch_embed, self.pos_embed, *self.layers[: self.frozen_stages], *beside]


@MODELS.register_module()
class MambaND(MambaNDBackbone):
    """Mamba-ND backbone for images: (B, in_channels, H, W) of any size to maps (B, C, H_i, W_i) of stride 8, later 16.

    Args:
        arch: a published architecture, ``small``, ``base``, or a dict with ``embed_dims``, ``num_layers`` and any other
            keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        scan: the route of every layer, or a schedule of routes, as for :class:`VMamba`.
        out_indices: layers whose maps are returned, before any halving but one behind the last layer, each through a
            LayerNorm of its own; negative counts from the end.
        final_norm: whether the last layer's map has such a norm.
        frozen_stages: -1 freezes nothing, 0 the embeddings, i the first i layers as well.
        drop_rate: of the embedded patches; 0.1 in the authors' training.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, the scan, a layer index, ``frozen_stages`` or a rate is not one of those that exist.
    """

    def __init__(
        self,
        arch: str | dict = 'small',
        *,
        in_channels: int = 3,
        scan: ScanSpec = 'mamba_nd',
        out_indices: Sequence[int] = (-1,),
        final_norm: bool = True,
        frozen_stages: int = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        height, width = (size, size) if isinstance(size := arch['img_size'], int) else size
        patch_embed = PatchEmbed(in_channels, arch['embed_dims'], arch['patch_size'], None, cover=True)
        super().__init__(
            arch,
            patch_embed,
            patch_embed.grid(height, width),
            downsample_layers=arch['downsample_layers'],
            scan=scan,
            out_indices=out_indices,
            final_norm=final_norm,
            frozen_stages=frozen_stages,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a layer to halve the map behind does not exist.
    """
    arch = base.resolve_arch(arch, ARCH, ARCH_DEFAULTS)
    behind = arch['downsample_layers']
    if not all(0 <= i < arch['num_layers'] for i in behind):
        raise ValueError(f'arch: downsample_layers {behind!r} must be indices of the {arch["num_layers"]} layers')
    return arch
