"""Deformable attention: each query reads a few learned points of some maps. Layout: (B, L, C), the maps row-major in L.

Paper: Zhu et al., "Deformable DETR: Deformable Transformers for End-to-End Object Detection", ICLR 2021,
https://arxiv.org/abs/2010.04159, equation 3. Only PyTorch's bilinear sampling is needed, no compiled op.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Shapes = Sequence[tuple[int, int]]


class DeformableAttention(nn.Module):
    """``proj_out(sum_k weight_k * value(point + offset_k))`` in each head, over points k of each map.

    Args:
        embed_dims: width C of queries, maps and output.
        num_heads: heads, which divide the width of the values.
        num_levels: maps that are read.
        num_points: points that a head reads of each.
        value_ratio: width of the values over ``embed_dims``.

    Raises:
        ValueError: if the heads do not divide the width of the values.
    """

    def __init__(
        self, embed_dims: int, num_heads: int, *, num_levels: int = 1, num_points: int = 4, value_ratio: float = 1.0
    ) -> None:
        super().__init__()
        width = int(embed_dims * value_ratio)
        if width % num_heads:
            raise ValueError(
                f'num_heads {num_heads} does not divide the width of the values, {width}, which is '
                f'embed_dims {embed_dims} times value_ratio {value_ratio}; take a divisor of it'
            )
        self.samples = (num_heads, num_levels, num_points)
        self.sampling_offsets = nn.Linear(embed_dims, 2 * math.prod(self.samples))
        self.attention_weights = nn.Linear(embed_dims, math.prod(self.samples))
        self.value_proj = nn.Linear(embed_dims, width)
        self.output_proj = nn.Linear(width, embed_dims)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Every head looks into a direction of its own, its points at distances 1, 2, ...; all count alike."""
        heads, _, points = self.samples
        for linear in (self.sampling_offsets, self.attention_weights, self.value_proj, self.output_proj):
            nn.init.zeros_(linear.bias)
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
        angles = torch.arange(heads) * (2 * math.pi / heads)
        directions = torch.stack([angles.cos(), angles.sin()], dim=-1)
        directions = directions / directions.abs().amax(-1, keepdim=True)  # on the square around the point
        distances = torch.arange(1, points + 1)[:, None]
        bias = self.sampling_offsets.bias.view(*self.samples, 2)
        bias.copy_((directions[:, None, None] * distances).expand_as(bias))

    def forward(self, query: Tensor, query_shapes: Shapes, maps: Tensor, shapes: Shapes) -> Tensor:
        """Read the maps around the place of each query.

        Args:
            query: (B, Lq, C), pixels of maps of the same image, one behind the other.
            query_shapes: height and width of each of these.
            maps: (B, L, C), the maps that are read, likewise.
            shapes: height and width of each of these.

        Returns:
            (B, Lq, C).
        """
        heads, levels, count = self.samples
        value = self.value_proj(maps)
        wide = torch.promote_types(value.dtype, torch.float32)  # half precision is too coarse for places in a map
        offsets = self.sampling_offsets(query).to(wide).unflatten(2, (*self.samples, 2))
        weights = self.attention_weights(query).to(wide).unflatten(2, (heads, levels * count)).softmax(-1)
        sizes = offsets.new_tensor([(width, height) for height, width in shapes])
        points = pixel_centres(query_shapes, offsets)[:, None, None, None]
        places = points + offsets / sizes[:, None]  # (B, Lq, heads, levels, count, 2)
        out = sample_levels(
            value.to(wide).unflatten(2, (heads, -1)), shapes, places, weights.unflatten(3, (levels, count))
        )
        return self.output_proj(out.to(value.dtype))


def sample_levels(value: Tensor, shapes: Shapes, places: Tensor, weights: Tensor) -> Tensor:
    """Weighted sums of bilinear samples; outside of a map there are zeros.

    Args:
        value: (B, L, heads, D), the maps one behind the other, fp32 or fp64.
        shapes: height and width of each.
        places: (B, Lq, heads, levels, points, 2) x and y, from 0 at the outer edge of the first pixel to 1 at that of
            the last one.
        weights: (B, Lq, heads, levels, points).

    Returns:
        (B, Lq, heads * D).
    """
    batch, length, heads = weights.shape[:3]
    grids = (2 * places - 1).transpose(1, 2).flatten(0, 1)  # (B * heads, Lq, levels, points, 2), from -1 to 1
    weights = weights.transpose(1, 2).flatten(0, 1)[:, None]  # (B * heads, 1, Lq, levels, points)
    maps = value.permute(0, 2, 3, 1).flatten(0, 1)  # (B * heads, D, L)
    out = value.new_zeros(())
    for i, (level, shape) in enumerate(zip(maps.split([h * w for h, w in shapes], dim=2), shapes, strict=True)):
        samples = F.grid_sample(level.unflatten(2, shape), grids[:, :, i], align_corners=False)
        out = out + (samples * weights[..., i, :]).sum(-1)  # (B * heads, D, Lq)
    return out.view(batch, -1, length).transpose(1, 2)


def pixel_centres(shapes: Shapes, like: Tensor) -> Tensor:
    """(L, 2): x and y of the pixels of some maps, from 0 to 1 over each; dtype and device are those of ``like``."""
    centres = []
    for height, width in shapes:
        y, x = ((torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) / size for size in (height, width))
        centres.append(torch.stack([x.expand(height, width), y[:, None].expand(height, width)], dim=-1).flatten(0, 1))
    return torch.cat(centres)
