"""The mixer of GroupMamba: groups of channels, each through an SS2D with a route of its own, modulated by the input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .norm import LayerNorm
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D


class GroupMambaLayer(nn.Module):
    """``proj(LN(gate(scans(n) * scale * n)))`` with ``n = LN(x)`` over (B, H, W, C), to the same shape.

    Args:
        embed_dims: C, a multiple of the number of routes.
        routes: names of routes, one for each group of neighbouring channels.

    Both norms are one and the same; the skip is a product, not a sum. As a norm follows it, ``scale`` hardly changes
    anything.

    Raises:
        ValueError: if the groups are not equal.

    Source: Shaker et al., "GroupMamba" (2024), section 3.3, as released.
    """

    def __init__(self, embed_dims: int, routes: Sequence[str]) -> None:
        super().__init__()
        if embed_dims % len(routes):
            raise ValueError(f'embed_dims {embed_dims} do not make {len(routes)} equal groups, one a route')
        width = embed_dims // len(routes)
        self.norm = LayerNorm(embed_dims)
        self.groups = nn.ModuleList(
            SS2D(width, d_state=1, ssm_ratio=1.0, conv_bias=True, gate=True, scan=[route]) for route in routes
        )
        self.affinity = SqueezeExcite(embed_dims, max(1, embed_dims // 16))
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        parts = zip(self.groups, n.chunk(len(self.groups), dim=-1), strict=True)
        y = torch.cat([group(part) for group, part in parts], dim=-1) * self.skip_scale * n
        return self.proj(self.norm(self.affinity(y, n)))
