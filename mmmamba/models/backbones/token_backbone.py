"""What the backbones of the kind of Vim have in common: one token sequence through layers of one width."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from mmmamba.layers import NORMS, ExtraTokens, PositionEmbed, RotaryEmbed, insert_tokens, rotate, split_tokens
from mmmamba.models.backbones.base import run_block
from mmmamba.models.backbones.plain_backbone import PlainBackbone

OUT_TYPES = ('featmap', 'pooled')


class TokenLayer(nn.Module):
    """What a layer adds to its input, ``drop_path(gamma * mixer(norm(x)))``; (B, L, C) to the same shape.

    Args:
        embed_dims: width of a token.
        mixer: of (B, L, C); it is called with what else :meth:`forward` gets.
        norm: a name of ``NORMS``.
        norm_eps: its eps.
        layer_scale: start of gamma; None: no gamma.
        drop_path_rate: of the layer.
    """

    def __init__(
        self,
        embed_dims: int,
        mixer: nn.Module,
        *,
        norm: str = 'RMS',
        norm_eps: float = 1e-5,
        layer_scale: float | None = None,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm = NORMS[norm](embed_dims, norm_eps, narrow=True)
        self.mixer = mixer
        self.gamma = None if layer_scale is None else nn.Parameter(torch.full((embed_dims,), float(layer_scale)))
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor, *context) -> Tensor:
        y = self.mixer(self.norm(x), *context)
        return self.drop_path(y if self.gamma is None else y * self.gamma)


class Layout(NamedTuple):
    """How the tokens of an image lie.

    Args:
        grid: rows and columns of the patches.
        places: of the extra tokens in the sequence.
        tables: cosines and sines that rotate the tokens between layers, (L, C) each.
    """

    grid: tuple[int, int]
    places: tuple[int, ...]
    tables: tuple[Tensor, Tensor] | None


class TokenBackbone(PlainBackbone):
    """Patches and extra tokens through layers of one width: (B, C, H, W) to maps (B, embed_dims, H', W').

    Args:
        patch_embed: from the image to a channels-last map.
        layers: each gives what is added to its input.
        embed_dims: width of a token.
        tokens: class tokens or registers.
        pos_embed: added to the patches, and to the extra tokens where it has vectors for them.
        rope: rotation before each layer, of what the layer before has added, and
        rotate_residual: of the sum before that as well.
        norm: of the outputs, a name of ``NORMS``.
        norm_eps: its eps.
        out_indices: layers whose maps are returned, each through a norm of its own.
        out_type: ``featmap``: the patches of those layers as maps; ``pooled``: what :meth:`pool` makes of the last one,
            for a classifier.
        pool_last: without extra tokens that is the last patch, not the mean of all.
        frozen_stages: 0 freezes the embeddings, i the first i layers as well.
        with_cp: recompute each layer in the backward pass.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if ``out_type`` is unknown, or the rotation meets extra tokens.
    """

    with_context = False  # whether layers are told the grid and the places of the extra tokens

    def __init__(
        self,
        patch_embed: nn.Module,
        layers: Sequence[nn.Module],
        embed_dims: int,
        *,
        tokens: ExtraTokens | None = None,
        pos_embed: PositionEmbed | None = None,
        rope: RotaryEmbed | None = None,
        rotate_residual: bool = True,
        norm: str = 'RMS',
        norm_eps: float = 1e-5,
        out_indices: Sequence[int] = (-1,),
        out_type: str = 'featmap',
        pool_last: bool = False,
        frozen_stages: int = -1,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(len(layers), out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        if out_type not in OUT_TYPES:
            raise ValueError(f'out_type {out_type!r} is not one of {OUT_TYPES}')
        if rope is not None and tokens is not None:
            raise ValueError('a rotary embedding has no place for class tokens; take one of the two')
        self.out_type, self.with_cp, self.rotate_residual = out_type, with_cp, rotate_residual
        self.pool_last = pool_last
        self.embed_dims = embed_dims
        self.patch_embed = patch_embed
        self.cls_tokens = tokens
        self.pos_embed = pos_embed
        self.rope = rope
        self.layers = nn.ModuleList(layers)
        self.out_norms = nn.ModuleDict({str(i): NORMS[norm](embed_dims, norm_eps) for i in self.out_indices})
        self._init_projections()
        self.freeze()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        outs = super().forward(image)
        return outs[-1:] if self.out_type == 'pooled' else outs

    def start(self, image: Tensor) -> tuple[Tensor, Layout]:
        """Tokens with positions, (B, L, C), and how they lie."""
        x = self.patch_embed(image)  # (B, C, H, W) -> (B, H', W', C)
        grid = tuple(x.shape[1:3])
        x = self.embed(x.flatten(1, 2), grid)
        x = x.to(torch.promote_types(x.dtype, torch.float32))  # the residual stream, as published
        places = () if self.cls_tokens is None else self.cls_tokens.places(grid[0] * grid[1])
        tables = None if self.rope is None else self.rope.tables(grid)
        return x if tables is None else rotate(x, tables), Layout(grid, places, tables)

    def run_layer(self, index: int, x: Tensor, context: Layout) -> tuple[Tensor, Tensor]:
        """One layer, (B, L, C) to the same shape; what the next one takes is rotated where there is a rotation."""
        told = (context.grid, context.places) if self.with_context else ()
        update = run_block(self.layers[index], x, *told, with_cp=self.with_cp)
        out = x + update
        if context.tables is None:
            return out, out
        return out, rotate(out, context.tables) if self.rotate_residual else x + rotate(update, context.tables)

    def embed(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """Add extra tokens and positions to the patches (B, M, C)."""
        x = x if self.cls_tokens is None else self.cls_tokens(x)
        return x if self.pos_embed is None else x + self.pos_embed(grid)

    def output(self, index: int, x: Tensor, context: Layout) -> Tensor:
        """The normed map behind a layer, (B, C, H', W'), or what is pooled of its tokens."""
        tokens, patches = split_tokens(self.out_norms[str(index)](x), context.places)
        if self.out_type == 'pooled':
            return self.pool(tokens, patches)
        return patches.transpose(1, 2).unflatten(2, context.grid)  # (B, M, C) -> (B, C, H', W')

    def patches(self, x: Tensor, context: Layout) -> Tensor:
        """The tokens (B, L, C) that are patches, as a map (B, H', W', C)."""
        return split_tokens(x, context.places)[1].unflatten(1, context.grid)

    def with_patches(self, x: Tensor, patches: Tensor, context: Layout) -> Tensor:
        """The tokens with another map in place of their patches."""
        return insert_tokens(patches.flatten(1, 2), split_tokens(x, context.places)[0], context.places)

    def pool(self, tokens: Tensor, patches: Tensor) -> Tensor:
        """What stands for the image: the mean of the class tokens (B, n, C), or without any of the patches."""
        if self.pool_last and not tokens.shape[1]:
            return patches[:, -1]
        return (tokens if tokens.shape[1] else patches).mean(dim=1)

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The embeddings, the first layers and their output norms."""
        embeddings = [part for part in (self.patch_embed, self.cls_tokens, self.pos_embed) if part is not None]
        norms = [norm for i, norm in self.out_norms.items() if int(i) < self.frozen_stages]
        return [*embeddings, *self.layers[: self.frozen_stages], *norms]

    @torch.no_grad()
    def _init_projections(self) -> None:
        """No biases, and output projections made smaller by the root of the depth, as published."""
        for name, module in self.layers.named_modules():
            if isinstance(module, nn.Linear):
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
                if name.endswith('.out_proj'):
                    nn.init.kaiming_uniform_(module.weight, a=5**0.5)
                    module.weight /= len(self.layers) ** 0.5


def both_sides(size: int | Sequence[int]) -> tuple[int, int]:
    """Height and width of an ``img_size`` that may be one number."""
    return (size, size) if isinstance(size, int) else tuple(size)
