"""Mamba-R: Vim's trunk with registers, spread evenly through the sequence, in place of a class token.

Paper: Wang et al., "Mamba-R: Vision Mamba ALSO Needs Registers", CVPR 2025, https://arxiv.org/abs/2405.14858. Authors'
code: wangf3014/Mamba-Reg. Layout inside: token sequences (B, L, C).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmmamba.layers import ExtraTokens, PatchEmbed, PositionEmbed, insert_tokens
from mmmamba.models.backbones import base
from mmmamba.models.backbones.token_backbone import TokenBackbone, both_sides
from mmmamba.models.backbones.vim import MIXER_DEFAULTS, bidirectional_layers
from mmmamba.registry import MODELS

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    registers=12,
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=16,
    norm='RMS',
    norm_eps=1e-5,
    drop_path_rate=0.0,
    **MIXER_DEFAULTS,
)
ARCH = {
    'tiny': dict(embed_dims=192, num_layers=24, drop_path_rate=0.1),
    'small': dict(embed_dims=384, num_layers=24, drop_path_rate=0.1),
    'base': dict(embed_dims=768, num_layers=24, drop_path_rate=0.4),
    'large': dict(embed_dims=1024, num_layers=48, registers=16, drop_path_rate=0.4),
}


@MODELS.register_module()
class MambaR(TokenBackbone):
    """Mamba-R backbone: (B, in_channels, H, W) of any size to maps (B, C, H / 16, W / 16), sizes rounded down.

    Args:
        arch: ``tiny``, ``small``, ``base``, ``large``, or a dict with ``embed_dims``, ``num_layers`` and any other keys
            of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        out_indices: layers whose maps are returned, each through a norm of its own; negative counts from the end.
        out_type: ``featmap``, or ``pooled``: the registers, (B, n, C), for a classifier with a ``RegisterNeck``.
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
        patch_embed = PatchEmbed(in_channels, dims, arch['patch_size'], None)
        super().__init__(
            patch_embed,
            bidirectional_layers(dict(arch, bidirectional=True, average=True, layer_scale=0.0), drop_path_rate),
            dims,
            tokens=ExtraTokens(dims, 'even', arch['registers']),
            pos_embed=PositionEmbed(dims, patch_embed.grid(*both_sides(arch['img_size']))),
            norm=arch['norm'],
            norm_eps=arch['norm_eps'],
            out_indices=out_indices,
            out_type=out_type,
            frozen_stages=frozen_stages,
            with_cp=with_cp,
            init_cfg=init_cfg,
        )
        # Their places change with the size of the image, what is learned for them does not.
        self.register_embed = nn.Parameter(torch.empty(1, arch['registers'], dims))
        nn.init.trunc_normal_(self.register_embed, std=0.02)
        self.freeze()

    def embed(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Registers with their embedding among patches with theirs."""
        registers = self.cls_tokens.weight + self.register_embed
        return insert_tokens(x + self.pos_embed(grid), registers, self.cls_tokens.places(x.shape[1]))

    def pool(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """All registers, (B, n, C)."""
        return tokens

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The embeddings, the first layers and their output norms."""
        own = [self.register_embed] if hasattr(self, 'register_embed') else []  # the base freezes before it is there
        return [*super().frozen_parts(), *own]


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    arch = base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, dict(norm=('LN', 'RMS')))
    if arch['registers'] < 1:
        raise ValueError(f'arch: registers {arch["registers"]!r} must be 1 or more; without any it is a Vim')
    return arch
