"""Vim, Vision Mamba: bidirectional Mamba over the patches of an image, with a class token in the middle.

Paper: Zhu et al., "Vision Mamba: Efficient Visual Representation Learning with Bidirectional State Space Model", ICML
2024, https://arxiv.org/abs/2401.09417. Authors' code: hustvl/Vim (Apache-2.0). Layout inside: tokens (B, L, C).
"""

from collections.abc import Sequence

from mmmamba.layers import ExtraTokens, MambaMixer, PatchEmbed, PositionEmbed, RotaryEmbed
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import drop_path_rates
from mmmamba.models.backbones.token_backbone import TokenBackbone, TokenLayer, both_sides
from mmmamba.registry import MODELS

# What an arch dict may say of the mixers, and what holds where it does not.
MIXER_DEFAULTS = dict(d_state=16, expand=2, d_conv=4, dt_rank='auto', conv_bias=True, bias=False)
# What it may say altogether: the first two have to be given.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=16,
    stride=16,  # of the patches
    pos_embed=True,
    class_token='middle',  # 'middle', 'head', 'ends' or 'none'
    pool='mean',  # without a class token: 'mean' or 'last'
    rope=False,
    rope_residual=True,
    rope_length=14,
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
    'base': dict(embed_dims=768, num_layers=24),
}
# Fine-tuned at half the stride.
ARCH |= {f'{name}_stride8': {**ARCH[name], 'stride': 8, 'drop_path_rate': 0.0} for name in ('tiny', 'small', 'base')}


@MODELS.register_module()
class Vim(TokenBackbone):
    """Vim backbone: (B, in_channels, H, W) of any size to maps (B, C, H / stride, W / stride), sizes rounded down.

    Args:
        arch: ``tiny``, ``small``, ``base``, these with ``_stride8``, or a dict with ``embed_dims``, ``num_layers`` and
            any other keys of ``ARCH_DEFAULTS``.
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
        token = None if arch['class_token'] == 'none' else arch['class_token']
        patch_embed = PatchEmbed(in_channels, dims, arch['patch_size'], None, stride=arch['stride'])
        grid = patch_embed.grid(*both_sides(arch['img_size']))
        super().__init__(
            patch_embed,
            bidirectional_layers(arch, drop_path_rate),
            dims,
            tokens=ExtraTokens(dims, token) if token else None,
            pos_embed=PositionEmbed(dims, grid, token) if arch['pos_embed'] else None,
            rope=RotaryEmbed(dims, grid, length=arch['rope_length']) if arch['rope'] else None,
            rotate_residual=arch['rope_residual'],
            norm=arch['norm'],
            norm_eps=arch['norm_eps'],
            out_indices=out_indices,
            out_type=out_type,
            pool_last=arch['pool'] == 'last',
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )


def bidirectional_layers(arch: dict, drop_path_rate: float | None) -> list[TokenLayer]:
    """The layers of a complete arch: Mamba in both directions, or one."""
    rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], arch['num_layers'])
    directions = ('forward', 'backward') if arch['bidirectional'] else ('forward',)
    options = {key: arch[key] for key in MIXER_DEFAULTS}
    return [
        TokenLayer(
            arch['embed_dims'],
            MambaMixer(arch['embed_dims'], directions=directions, average=arch['average'], **options),
            norm=arch['norm'],
            norm_eps=arch['norm_eps'],
            layer_scale=arch['layer_scale'] or None,
            drop_path_rate=rate,
        )
        for rate in rates
    ]


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    choices = dict(norm=('LN', 'RMS'), class_token=('middle', 'head', 'ends', 'none'), pool=('mean', 'last'))
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices)
