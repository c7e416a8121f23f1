"""ViT-Adapter: a pyramid of maps beside a plain backbone, with which it exchanges what it has between the layers.

Paper: Chen et al., "Vision Transformer Adapter for Dense Predictions", ICLR 2023, https://arxiv.org/abs/2205.08534,
sections 3.2 to 3.4 and figure 4. Layout: the trunk's map (B, H, W, C); the pyramid's maps of strides 8, 16 and 32,
row-major and one behind the other, (B, L, C).
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import StochasticDepth

from mmmamba.layers import DeformableAttention, LayerNorm, Stem
from mmmamba.models.backbones.base import run_block
from mmmamba.models.backbones.plain_backbone import PlainBackbone
from mmmamba.registry import MODELS

STRIDES = (4, 8, 16, 32)
NORM_EPS = 1e-6

Shapes = Sequence[tuple[int, int]]


def to_maps(x: Tensor, shapes: Shapes) -> list[Tensor]:
    """(B, L, C) to its maps, (B, C, h, w) each."""
    pieces = x.split([math.prod(shape) for shape in shapes], dim=1)
    return [piece.transpose(1, 2).unflatten(2, shape) for piece, shape in zip(pieces, shapes, strict=True)]


def to_sequence(maps: Sequence[Tensor]) -> Tensor:
    """The reverse of :func:`to_maps`."""
    return torch.cat([x.flatten(2) for x in maps], dim=2).transpose(1, 2)


def pad_to_stride(image: Tensor) -> Tensor:
    """(B, C, H, W) with zeros on the right and at the bottom, up to multiples of the largest stride."""
    return F.pad(image, (0, -image.shape[3] % STRIDES[-1], 0, -image.shape[2] % STRIDES[-1]))


class SpatialPrior(Stem):
    """Convolutions: an image (B, C, H, W), padded, to maps (B, embed_dims, H / s, W / s), s being 4, 8, 16 and 32."""

    def __init__(self, in_channels: int, embed_dims: int, stem_dims: int) -> None:
        super().__init__(in_channels)
        widths = (stem_dims, 2 * stem_dims, 4 * stem_dims, 4 * stem_dims)
        stem = [
            _conv_norm(in_channels, stem_dims, 2),
            _conv_norm(stem_dims, stem_dims),
            _conv_norm(stem_dims, stem_dims),
        ]
        self.stem = nn.Sequential(*stem, nn.MaxPool2d(3, stride=2, padding=1))
        self.convs = nn.ModuleList(_conv_norm(widths[i], widths[i + 1], 2) for i in range(3))
        self.projs = nn.ModuleList(nn.Conv2d(width, embed_dims, 1) for width in widths)

    def embed(self, x: Tensor) -> list[Tensor]:
        maps = [self.stem(pad_to_stride(x))]
        for conv in self.convs:
            maps.append(conv(maps[-1]))
        return [proj(x) for proj, x in zip(self.projs, maps, strict=True)]


class Injector(nn.Module):
    """``x + gamma * attention(norm(x), norm(pyramid))``: the pyramid into the trunk.

    Args:
        embed_dims: channels.
        num_heads: of the attention.
        num_points: that a head reads of each map.
        value_ratio: width of the attention's values over the channels.
        layer_scale: start of gamma.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, *, num_points: int, value_ratio: float, layer_scale: float
    ) -> None:
        super().__init__()
        self.query_norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.feat_norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.attn = DeformableAttention(
            embed_dims, num_heads, num_levels=len(STRIDES) - 1, num_points=num_points, value_ratio=value_ratio
        )
        self.gamma = nn.Parameter(torch.full((embed_dims,), float(layer_scale)))

    def forward(self, x: Tensor, pyramid: Tensor, shapes: Shapes) -> Tensor:
        """(B, H, W, C) and (B, L, C) to the shape of the former."""
        grid = tuple(x.shape[1:3])
        update = self.attn(self.query_norm(x).flatten(1, 2), [grid], self.feat_norm(pyramid), shapes)
        return x + self.gamma * update.unflatten(1, grid)


class Extractor(nn.Module):
    """``y + attention(norm(y), norm(trunk))``, then ``y + ffn(norm(y))``: the trunk into the pyramid y.

    Args:
        embed_dims: channels.
        num_heads: of the attention.
        num_points: that a head reads.
        value_ratio: width of the attention's values over the channels.
        ffn_ratio: width between the two layers of the feed-forward network over the channels.
        drop_path_rate: of its branch.
    """

    def __init__(
        self,
        embed_dims: int,
        num_heads: int,
        *,
        num_points: int,
        value_ratio: float,
        ffn_ratio: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.query_norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.feat_norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.attn = DeformableAttention(embed_dims, num_heads, num_points=num_points, value_ratio=value_ratio)
        self.ffn_norm = LayerNorm(embed_dims, NORM_EPS, narrow=True)
        self.ffn = PyramidMlp(embed_dims, int(embed_dims * ffn_ratio))
        self.drop_path = StochasticDepth(drop_path_rate, mode='row')

    def forward(self, pyramid: Tensor, x: Tensor, shapes: Shapes) -> Tensor:
        """(B, L, C) and (B, H, W, C) to the shape of the former."""
        trunk = self.feat_norm(x).flatten(1, 2)
        pyramid = pyramid + self.attn(self.query_norm(pyramid), shapes, trunk, [tuple(x.shape[1:3])])
        return pyramid + self.drop_path(self.ffn(self.ffn_norm(pyramid), shapes))


class PyramidMlp(nn.Module):
    """``fc2(GELU(dwconv(fc1(y))))``, one depthwise 3x3 convolution for all maps; (B, L, C) to the same shape."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.dwconv = nn.Conv2d(hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims)
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor, shapes: Shapes) -> Tensor:
        x = to_sequence([self.dwconv(level) for level in to_maps(self.fc1(x), shapes)])
        return self.fc2(F.gelu(x))


@MODELS.register_module()
class ViTAdapter(BaseModule):
    """A plain backbone and its adapter: (B, in_channels, H, W) of any size to four maps (B, C, H / s, W / s).

    Strides s are 4, 8, 16 and 32, sizes rounded up: an image is padded with zeros to multiples of 32, the maps are cut.
    All layers of the backbone run, in ``num_interactions`` runs of equal length. Before each an injector adds to the
    trunk what it reads of the pyramid, behind each an extractor the other way round, behind the last one three of them.
    What the backbone says of its outputs (``out_indices``, their norms) has no effect. On a GPU the gradient of
    bilinear sampling has no deterministic version in PyTorch.

    Args:
        backbone: config of a plain backbone, such as ``dict(type='mmmamba.PlainMamba', arch='l1')``. Its ``init_cfg``
            loads a classifier's weights, its ``frozen_stages`` and ``with_cp`` hold for its own layers.
        num_interactions: runs of layers.
        num_heads: heads of the deformable attention.
        num_points: points that a head reads of each map.
        stem_dims: channels of the first convolutions, later two and four times as many.
        ffn_ratio: inner width of the extractors' feed-forward networks over the channels.
        value_ratio: width of the attention's values over the channels.
        layer_scale: start of the factors of what is injected; at 0 the trunk starts as it was trained.
        drop_path_rate: of the feed-forward networks, the same in all.
        with_cp: recompute injectors and extractors in the backward pass to save memory.
        init_cfg: mmengine initialisation.

    Raises:
        ValueError: if the backbone is not a plain one, there are more runs than layers, or the heads do not divide the
            width of the values.
    """

    def __init__(
        self,
        backbone: dict,
        *,
        num_interactions: int = 4,
        num_heads: int = 6,
        num_points: int = 4,
        stem_dims: int = 64,
        ffn_ratio: float = 0.25,
        value_ratio: float = 1.0,
        layer_scale: float = 0.0,
        drop_path_rate: float = 0.0,
        with_cp: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.with_cp = with_cp
        self.backbone = MODELS.build(backbone)
        if not isinstance(self.backbone, PlainBackbone) or self.backbone.patch_embed.axes != 2:
            raise ValueError(f'backbone {backbone["type"]!r} is not a plain one for images, such as mmmamba.PlainMamba')
        self.backbone.out_norms = nn.ModuleDict()  # it returns no maps; norms without a gradient stop distributed runs
        self.runs = equal_runs(len(self.backbone.layers), num_interactions)
        dims = self.backbone.embed_dims
        attention = dict(num_points=num_points, value_ratio=value_ratio)
        extraction = dict(attention, ffn_ratio=ffn_ratio, drop_path_rate=drop_path_rate)
        self.prior = SpatialPrior(self.backbone.patch_embed.in_channels, dims, stem_dims)
        self.level_embed = nn.Parameter(torch.randn(len(STRIDES) - 1, dims))
        self.injectors = nn.ModuleList(
            Injector(dims, num_heads, layer_scale=layer_scale, **attention) for _ in self.runs
        )
        self.extractors = nn.ModuleList(
            nn.ModuleList(Extractor(dims, num_heads, **extraction) for _ in range(3 if run is self.runs[-1] else 1))
            for run in self.runs
        )
        self.up = nn.ConvTranspose2d(dims, dims, 2, stride=2)
        self.out_norms = nn.ModuleList(nn.BatchNorm2d(dims) for _ in STRIDES)
        for part in (self.prior, self.injectors, self.extractors, self.up):
            part.apply(_init_weights)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        first, *rest = self.prior(image)
        rest = [x + embed[:, None, None] for x, embed in zip(rest, self.level_embed, strict=True)]
        shapes = [tuple(x.shape[2:]) for x in rest]
        trunk, pyramid = self._interact(pad_to_stride(image), to_sequence(rest), shapes)
        rest = to_maps(pyramid, shapes)
        first = first + self.up(rest[0])
        outs = []
        for x, norm, stride in zip((first, *rest), self.out_norms, STRIDES, strict=True):
            x = x + F.interpolate(trunk, x.shape[2:], mode='bilinear', align_corners=False)
            height, width = (-(-side // stride) for side in image.shape[2:])
            x = x.to(norm.weight.dtype)  # in half precision some trunks have a residual stream in fp32
            outs.append(norm(x)[:, :, :height, :width])
        return tuple(outs)

    def _interact(self, image: Tensor, pyramid: Tensor, shapes: Shapes) -> tuple[Tensor, Tensor]:
        """The trunk's last map (B, C, H', W') and the pyramid (B, L, C) behind all layers."""
        backbone = self.backbone
        x, context = backbone.start(image)
        for run, injector, extractors in zip(self.runs, self.injectors, self.extractors, strict=True):
            patches = run_block(injector, backbone.patches(x, context), pyramid, shapes, with_cp=self.with_cp)
            x = backbone.with_patches(x, patches, context)
            for i in run:
                out, x = backbone.run_layer(i, x, context)
            patches = backbone.patches(out, context)
            for extractor in extractors:
                pyramid = run_block(extractor, pyramid, patches, shapes, with_cp=self.with_cp)
        return patches.permute(0, 3, 1, 2), pyramid

    def blocks(self) -> list[nn.Module]:
        """The layers of the backbone: the units that sharding wraps."""
        return self.backbone.blocks()

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Where a parameter stands, as the backbone says; those of the adapter come last."""
        return self.backbone.get_layer_depth(param_name, f'{prefix}backbone.')


def _conv_norm(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def equal_runs(layers: int, count: int) -> list[range]:
    """Indices of ``layers`` layers in ``count`` runs, whose lengths differ by one at most.

    Raises:
        ValueError: if a run would be empty.
    """
    if not 1 <= count <= layers:
        raise ValueError(f'num_interactions {count!r} is not between 1 and {layers}, the number of layers')
    bounds = [i * layers // count for i in range(count + 1)]
    return [range(*pair) for pair in pairwise(bounds)]


def _init_weights(module: nn.Module) -> None:
    if isinstance(module, DeformableAttention):
        module.init_weights()
    elif isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
        nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
