"""The mixer of GroupMamba: groups of channels, each through an SS2D with a route of its own, modulated by the input."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.ops import layer_norm, selective_scan_2d
from mmmamba.scans import Scan

from .norm import LayerNorm
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D


class GroupMambaLayer(nn.Module):
    """``proj(LN(gate(scans(n) * scale * n)))`` with ``n = LN(x)`` over (B, H, W, C), to the same shape.

    Args:
        embed_dims: C, a multiple of the number of routes.
        routes: names of routes, one for each group of neighbouring channels.

    Both norms are one and the same; the skip is a product, not a sum. As a norm follows it, ``scale`` hardly changes
    anything. The groups run as one: their parameters are put side by side, and each step is a single launch.

    Raises:
        ValueError: if the groups are not equal.

    Source: Shaker et al., "GroupMamba" (2024), section 3.3, as released.
    """

    def __init__(self, embed_dims: int, routes: Sequence[str]) -> None:
        super().__init__()
        if embed_dims % len(routes):
            raise ValueError(f'embed_dims {embed_dims} do not make {len(routes)} equal groups, one a route')
        width = embed_dims // len(routes)
        self.norm = LayerNorm(embed_dims, narrow=True)
        self.scan = Scan(routes)
        self.groups = nn.ModuleList(
            SS2D(width, d_state=1, ssm_ratio=1.0, conv_bias=True, gate=True, scan=[route]) for route in routes
        )
        self.affinity = SqueezeExcite(embed_dims, max(1, embed_dims // 16))
        self.skip_scale = nn.Parameter(torch.ones(1))
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        n = self.norm(x)
        y = self._mix(n) * (self.skip_scale.to(n.dtype) * n)
        return self.proj(self.norm(self.affinity(y, n)))

    def _mix(self, x: Tensor) -> Tensor:
        """What the groups make of their channels, side by side: (B, H, W, C) to the same shape."""
        first, count = self.groups[0], len(self.groups)
        x = x.unflatten(-1, (count, -1))
        x, z = torch.einsum('bhwge,gde->bhwgd', x, self._stacked('in_proj.weight')).chunk(2, dim=-1)  # (B, H, W, G, E)
        weight, bias = (self._stacked(name).flatten(0, 1) for name in ('conv.weight', 'conv.bias'))
        x = F.conv2d(x.flatten(3).movedim(-1, 1), weight, bias, padding=first.conv.padding, groups=len(weight))
        x = F.silu(x).movedim(1, -1)  # (B, H, W, C)
        names = ('x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A_log', 'D')
        x_proj, dt_proj, dt_bias, A_log, D = (self._stacked(name).squeeze(1) for name in names)
        tables = self.scan.tables(*x.shape[1:3], device=x.device, redraw=self.training)
        y = selective_scan_2d(x, tables, x_proj, dt_proj, dt_bias, -torch.exp(A_log), D).unflatten(-1, (count, -1))
        y = layer_norm(y, eps=first.out_norm.eps)
        y = torch.addcmul(self._stacked('out_norm.bias'), y, self._stacked('out_norm.weight')) * F.silu(z)
        return torch.einsum('bhwge,gde->bhwgd', y, self._stacked('out_proj.weight')).flatten(3)

    def _stacked(self, name: str) -> Tensor:
        return torch.stack([group.get_parameter(name) for group in self.groups])
