"""RSMamba: Mamba layers that read the patches forwards, backwards and shuffled, and weigh the three for each image.

Paper: Chen et al., "RSMamba: Remote Sensing Image Classification with State Space Model", 2024,
https://arxiv.org/abs/2403.19654. Authors' code: KyanChen/RSMamba. Layout inside: token sequences (B, L, C).
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers import ExtraTokens, LayerNorm, MambaMixer, PatchEmbed, PositionEmbed, insert_tokens, split_tokens
from mmmamba.layers.mamba_mixer import scan_branches
from mmmamba.models.backbones import base
from mmmamba.models.backbones.base import drop_path_rates, init_linear, run_block
from mmmamba.models.backbones.plain_backbone import PlainBackbone
from mmmamba.registry import MODELS
from mmmamba.scans import cached_tables

# Number of paths, and whether they are weighed by a gate; else the mean is taken.
PATHS = {
    'forward': (1, False),
    'forward_reverse_mean': (2, False),
    'forward_reverse_gate': (2, True),
    'forward_reverse_shuffle_gate': (3, True),
}

# What an arch dict may say and, for all but the first two, what holds where it does not.
ARCH_DEFAULTS = dict(
    embed_dims=None,
    num_layers=None,
    inner_dims=0,  # width of the scan; 0: twice embed_dims
    paths='forward_reverse_shuffle_gate',
    class_token='none',  # 'none', 'head', 'middle' or 'tail'
    img_size=224,  # number or (height, width) that the position embedding is learned for; any size is taken
    patch_size=16,
    patch_stride=8,
    d_state=16,
    d_conv=4,
    dt_rank='auto',
    conv_bias=True,
    bias=False,  # of the input and output projections
    norm_eps=1e-6,
    drop_path_rate=0.0,
)
ARCH = {
    'small': dict(embed_dims=192, num_layers=16),
    'base': dict(embed_dims=192, num_layers=24),
    'large': dict(embed_dims=256, num_layers=36),
    'huge': dict(embed_dims=320, num_layers=48),
}


class RSMambaLayer(nn.Module):
    """One Mamba mixer along several paths through the same tokens, and the gate that weighs its outputs.

    Args:
        arch: complete.
        drop_path_rate: of the layer.
    """

    def __init__(self, arch: dict, drop_path_rate: float) -> None:
        super().__init__()
        dims = arch['embed_dims']
        self.paths, gated = PATHS[arch['paths']]
        self.mixer = MambaMixer(
            dims,
            d_state=arch['d_state'],
            expand=(arch['inner_dims'] or 2 * dims) / dims,
            d_conv=arch['d_conv'],
            dt_rank=arch['dt_rank'],
            conv_bias=arch['conv_bias'],
            bias=arch['bias'],
        )
        self.gate = nn.Linear(self.paths * dims, self.paths, bias=False) if gated else None
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, x: Tensor, normed: Tensor, tables: Tensor) -> Tensor:
        """``x + mix(normed)``.

        Args:
            x: (B, L, C).
            normed: likewise, through the norm that all layers share.
            tables: (paths, L) the token at each step of each path.

        The projections take each token by itself: that in front is the same for all paths, and that behind may follow
        their weighted sum, as the weights add up to 1.
        """
        inner, z = self.mixer.in_proj(normed).chunk(2, dim=-1)  # (B, L, C) -> 2 x (B, L, E)
        y = scan_branches([*self.mixer.branches] * self.paths, inner, tables)  # (B, L, paths, E)
        y = y * F.silu(z).unsqueeze(2)
        if self.gate is None:
            return x + self.drop_path(self.mixer.out_proj(y.mean(2)))
        means = self.mixer.out_proj(y.mean(1))  # (B, paths, C)
        weights = self.gate(means.flatten(1)).softmax(-1).to(y.dtype)  # (B, paths)
        mixed = (y * weights[:, None, :, None]).sum(2, dtype=y.dtype)
        return x + self.drop_path(self.mixer.out_proj(mixed))


@MODELS.register_module()
class RSMamba(PlainBackbone):
    """RSMamba backbone: (B, in_channels, H, W) of any size to maps (B, C, H / 8, W / 8), sizes rounded up.

    Args:
        arch: a published architecture, ``small``, ``base``, ``large``, ``huge``, or a dict with ``embed_dims``,
            ``num_layers`` and any other keys of ``ARCH_DEFAULTS``.
        in_channels: channels of the image.
        out_indices: layers whose maps are returned, each through a LayerNorm of its own; negative counts from the end.
        out_type: ``'featmap'``, or ``'cls_token'`` for the class token (B, C) in place of each map.
        final_norm: whether the last layer's map has such a norm.
        frozen_stages: -1 freezes nothing, 0 the embeddings, i the first i layers as well, all layers the norm that they
            share.
        drop_rate: of the embedded tokens.
        drop_path_rate: of the last layer, growing linearly from 0; None is the architecture's published rate, 0.
        with_cp: recompute each layer in the backward pass to save memory.
        init_cfg: mmengine initialisation, such as ``dict(type='mmmamba.Pretrained', checkpoint=...)``.

    Training shuffles anew in every layer and step. The authors' code does so in evaluation as well; here each layer
    then keeps to one order, so that outputs repeat.

    Raises:
        ValueError: if the arch, a layer index, ``frozen_stages``, a rate or ``out_type`` does not exist.
    """

    def __init__(
        self,
        arch: str | dict = 'base',
        *,
        in_channels: int = 3,
        out_indices: Sequence[int] = (-1,),
        out_type: str = 'featmap',
        final_norm: bool = True,
        frozen_stages: int = -1,
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        arch = resolve_arch(arch)
        depth, dims, size = arch['num_layers'], arch['embed_dims'], arch['img_size']
        super().__init__(depth, out_indices=out_indices, frozen_stages=frozen_stages, init_cfg=init_cfg)
        placement = None if arch['class_token'] == 'none' else arch['class_token']
        if out_type not in ('featmap', 'cls_token') or (out_type == 'cls_token' and placement is None):
            raise ValueError(
                f"out_type {out_type!r} must be 'featmap', or 'cls_token' if arch has a class_token, "
                f'which is {arch["class_token"]!r}'
            )
        self.embed_dims, self.out_type, self.with_cp = dims, out_type, with_cp
        self.patch_embed = PatchEmbed(
            *(in_channels, dims, arch['patch_size'], None), stride=arch['patch_stride'], cover=True, bias=False
        )
        self.cls_token = None if placement is None else ExtraTokens(dims, placement)
        height, width = (size, size) if isinstance(size, int) else size
        self.pos_embed = PositionEmbed(dims, self.patch_embed.grid(height, width), placement)
        self.dropout = nn.Dropout(drop_rate)
        rates = drop_path_rates(drop_path_rate, arch['drop_path_rate'], depth)
        self.layers = nn.ModuleList(RSMambaLayer(arch, rate) for rate in rates)
        self.pre_norm = LayerNorm(dims, arch['norm_eps'], narrow=True)
        normed = [i for i in self.out_indices if final_norm or i < depth - 1]
        self.out_norms = nn.ModuleDict({str(i): LayerNorm(dims, arch['norm_eps']) for i in normed})
        self.apply(init_linear)
        self.freeze()

    def start(self, image: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Tokens with positions, (B, L, C), and the grid of the patches among them."""
        x = self.patch_embed(image)  # (B, C, H, W) -> (B, H/8, W/8, C)
        grid = tuple(x.shape[1:3])
        x = x.flatten(1, 2)
        if self.cls_token is not None:
            x = self.cls_token(x)
        return self.dropout(x + self.pos_embed(grid)), grid

    def run_layer(self, index: int, x: Tensor, context: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """One layer behind the norm that all share; (B, L, C) to the same shape, twice the same."""
        x = run_block(self.layers[index], x, self.pre_norm(x), self._tables(index, x), with_cp=self.with_cp)
        return x, x

    def output(self, index: int, x: Tensor, context: tuple[int, int]) -> Tensor:
        """The map behind a layer, or its class token, normed where that has a norm."""
        x = self.out_norms[str(index)](x) if str(index) in self.out_norms else x
        if self.out_type == 'cls_token':
            return self._split(x, context)[0][:, 0]
        return self.patches(x, context).permute(0, 3, 1, 2)  # channels-first at the border

    def patches(self, x: Tensor, context: tuple[int, int]) -> Tensor:
        """The tokens (B, L, C) that are patches, as a map (B, H', W', C)."""
        return self._split(x, context)[1].unflatten(1, context)

    def with_patches(self, x: Tensor, patches: Tensor, context: tuple[int, int]) -> Tensor:
        """The tokens with another map in place of their patches."""
        patches = patches.flatten(1, 2)
        if self.cls_token is None:
            return patches
        return insert_tokens(patches, self._split(x, context)[0], self.cls_token.places(math.prod(context)))

    def _tables(self, layer: int, x: Tensor) -> Tensor:
        """The paths of a layer, (paths, L)."""
        paths, length = self.layers[layer].paths, x.shape[1]
        if not self.training:
            return fixed_tables(layer, paths, length, x.device)
        return _tables(paths, torch.randperm(length, device=x.device))

    def _split(self, x: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        if self.cls_token is None:
            return x[:, :0], x
        return split_tokens(x, self.cls_token.places(math.prod(grid)))

    def frozen_parts(self) -> list[nn.Module | nn.Parameter]:
        """The embeddings, the first layers and their output norms."""
        norms = [norm for i, norm in self.out_norms.items() if int(i) < self.frozen_stages]
        embeddings = [part for part in (self.patch_embed, self.cls_token, self.pos_embed) if part is not None]
        shared = [self.pre_norm] if self.frozen_stages == len(self.layers) else []
        return [*embeddings, *self.layers[: self.frozen_stages], *norms, *shared]


@cached_tables
def fixed_tables(layer: int, paths: int, length: int, device: torch.device) -> Tensor:
    """(paths, length) int64: the token at each step of a layer's paths in evaluation; a layer keeps its shuffle."""
    return _tables(paths, torch.from_numpy(np.random.RandomState(layer).permutation(int(length))).to(device))


def _tables(paths: int, shuffled: Tensor) -> Tensor:
    steps = torch.arange(len(shuffled), device=shuffled.device)
    return torch.stack([steps, steps.flip(0), shuffled])[:paths]


def resolve_arch(arch: str | dict) -> dict:
    """Every key of ``ARCH_DEFAULTS`` for a published name or a dict.

    Raises:
        ValueError: if the name or a key is unknown, one is missing, or a value is not one that exists.
    """
    choices = dict(paths=PATHS, class_token=('none', 'head', 'middle', 'tail'))
    return base.resolve_arch(arch, ARCH, ARCH_DEFAULTS, choices)
