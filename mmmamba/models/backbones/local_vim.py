"""LocalVim: Vim's trunk whose layers scan the map along four routes each, windows among them.

Paper: Huang et al., "LocalMamba: Visual State Space Model with Windowed Selective Scan", 2024,
https://arxiv.org/abs/2403.09338. Authors' code: hunto/LocalMamba (Apache-2.0). Layout inside: tokens (B, L, C).
"""

from collections.abc import Sequence

from mmmamba.layers import ExtraTokens, LocalMambaMixer, PatchEmbed, PositionEmbed, RotaryEmbed
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import drop_path_rates
from mmmamba.models.backbones.local_vmamba import ROUTES
from mmmamba.models.backbones.token_backbone import TokenBackbone, TokenLayer, both_sides
from mmmamba.models.backbones.vim import MIXER_DEFAULTS
from mmmamba.registry import MODELS

UNSEARCHED = ('raster', 'raster.reverse', 'window:2', 'window:2.reverse')
# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    routes=UNSEARCHED,  # of every layer; or a list of routes for each layer; or 'search', the supernet of all eight
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=16,
    pos_embed=True,
    class_token='none',  # 'none', 'middle', 'head' or 'ends'
    pool='mean',  # without a class token: 'mean' or 'last'
    rope=True,
    rope_residual=True,
    rope_length=14,
    norm='RMS',
    norm_eps=1e-5,
    drop_path_rate=0.1,
    **MIXER_DEFAULTS,
)
# The published result of the search, f for "_flip", layers separated by bars.
_SEARCHED = (
    'h vf w7 w7f | hf w2f w7 w7f | h hf v w7 | h hf v vf | h hf v vf | h hf v vf | hf v vf w7 | hf v vf w2f | '
    'h hf v vf | h hf v vf | h v vf w2 | h v vf w2f | h hf vf w7 | hf v vf w2 | h hf v vf | h v w2 w2f | '
    'v vf w2 w7 | h hf v w2 | h hf w2f w7 | v vf w2 w2f'
)
SEARCHED = [[ROUTES[name.replace('f', '_flip')] for name in layer.split()] for layer in _SEARCHED.split('|')]
ARCH = {
    'tiny': dict(embed_dims=192, num_layers=20, routes=SEARCHED),
    'small': dict(embed_dims=384, num_layers=20, routes=SEARCHED),
    'tiny_middle_token': dict(embed_dims=192, num_layers=20, routes=SEARCHED, class_token='middle', rope=False),
    'tiny_unsearched': dict(embed_dims=192, num_layers=20),
    'small_unsearched': dict(embed_dims=384, num_layers=20),
}


@MODELS.register_module()
class LocalVim(TokenBackbone):
    """LocalVim backbone: (B, in_channels, H, W) of any size to maps (B, C, H / 16, W / 16), sizes rounded up.

    Args:
        arch: ``tiny``, ``small``, ``tiny_middle_token``, ``tiny_unsearched``, ``small_unsearched``, or a dict with
            ``embed_dims``, ``num_layers`` and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        released_inverse: put column-major routes back as the released code does, which scrambles maps that are not
            square. The authors' detectors and segmentors were trained that way; nothing else should be.
        out_indices: layers whose maps are returned, each through a norm of its own; negative counts from the end.
        out_type: ``featmap``, or ``pooled``: the mean of the patches or the class token, (B, C), for a classifier.
        frozen_stages: -1 freezes nothing, 0 the embeddings, i the first i layers as well.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's published rate.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Raises:
        ValueError: if the arch, a layer index, ``frozen_stages`` or the drop path rate is not one of those that exist.
    """

    with_context = True

    def __init__(
        self,
        arch: str | dict = 'tiny',
        *,
        in_channels: int = 3,
        released_inverse: bool = False,
        out_indices: Sequence[int] = (-1,),
        out_type: str = 'featmap',
        frozen_stages: int = -1,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        dims, depth = arch['embed_dims'], arch['num_layers']
        token = None if arch['class_token'] == 'none' else arch['class_token']
        patch_embed = PatchEmbed(in_channels, dims, arch['patch_size'], None, cover=True)
        # As published, rounded down, where the patches of an image are rounded up.
        grid = tuple(max(1, size // arch['patch_size']) for size in both_sides(arch['img_size']))
        options = {key: arch[key] for key in MIXER_DEFAULTS}
        options.update(search=arch['routes'] == 'search', released_inverse=released_inverse)
        layers = [
            TokenLayer(
                dims,
                LocalMambaMixer(dims, routes, **options),
                norm=arch['norm'],
                norm_eps=arch['norm_eps'],
                drop_path_rate=rate,
            )
            for routes, rate in zip(
                routes_of_layers(arch), drop_path_rates(drop_path_rate, arch['drop_path_rate'], depth), strict=True
            )
        ]
        rope = RotaryEmbed(dims, grid, length=arch['rope_length'], resize_tables=True) if arch['rope'] else None
        super().__init__(
            patch_embed,
            layers,
            dims,
            tokens=ExtraTokens(dims, token) if token else None,
            pos_embed=PositionEmbed(dims, grid, token) if arch['pos_embed'] else None,
            rope=rope,
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


def routes_of_layers(arch: dict) -> list[Sequence[str]]:
    """The routes of each layer of a complete arch."""
    if arch['routes'] == 'search':
        return [tuple(ROUTES.values())] * arch['num_layers']
    return [arch['routes']] * arch['num_layers'] if isinstance(arch['routes'][0], str) else list(arch['routes'])


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    choices = dict(norm=('LN', 'RMS'), class_token=('middle', 'head', 'ends', 'none'), pool=('mean', 'last'))
    arch = base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices)
    routes, depth = arch['routes'], arch['num_layers']
    if not routes or (isinstance(routes, str) and routes != 'search'):
        raise ValueError(f"arch: routes {routes!r} is not 'search', a list of routes, or such a list for each layer")
    if len(routes_of_layers(arch)) != depth:
        raise ValueError(f'arch: routes for {len(routes)} layers, but num_layers is {depth}; give one list for each')
    return arch
