"""SS2D, the mixer of VMamba: project, depthwise convolution, selective scan along K routes, norm, gate, project."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.ops import selective_scan_2d
from mmmamba.scans import Scan, build_scan


class SS2D(nn.Module):
    """2-D selective scan over a channels-last map, (B, H, W, embed_dims) to the same shape.

    Args:
        embed_dims: channels of the map.
        d_state: size of the state per channel, N.
        ssm_ratio: width of the scan over ``embed_dims``.
        dt_rank: rank R of the step size's projection; ``auto`` is ``ceil(embed_dims / 16)``.
        conv_bias: whether the depthwise convolution has a bias.
        gate: multiply the normed scan by ``SiLU(z)``, z a second half of the input projection.
        scan: name of a scan or list of routes; every route has its own projections, A and D.

    Source: Liu et al., "VMamba: Visual State Space Model" (2024), section 4.2 and figure 3. The released models with a
    d_state of 1 have no gate and no activation after the norm.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        d_state: int = 1,
        ssm_ratio: float = 2.0,
        dt_rank: int | str = 'auto',
        conv_bias: bool = False,
        gate: bool = False,
        scan: str | Sequence[str] | Scan = 'cross',
    ) -> None:
        super().__init__()
        inner = int(ssm_ratio * embed_dims)
        rank = math.ceil(embed_dims / 16) if dt_rank == 'auto' else dt_rank
        self.gate = gate
        self.scan = build_scan(scan)
        routes = len(self.scan)
        self.in_proj = nn.Linear(embed_dims, 2 * inner if gate else inner, bias=False)
        self.conv = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=conv_bias)
        self.x_proj_weight = nn.Parameter(torch.empty(routes, rank + 2 * d_state, inner))
        self.dt_proj_weight = nn.Parameter(torch.empty(routes, inner, rank))
        self.dt_proj_bias = nn.Parameter(torch.empty(routes, inner))
        self.A_log = nn.Parameter(torch.empty(routes, inner, d_state))
        self.D = nn.Parameter(torch.empty(routes, inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, embed_dims, bias=False)
        self.reset_scan_parameters()

    @torch.no_grad()
    def reset_scan_parameters(self) -> None:
        """Start the state space: A = -(1..N), D = 1, steps log-uniform in [1e-3, 1e-1] (Mamba, section 3.6)."""
        _, inner, rank = self.dt_proj_weight.shape
        nn.init.uniform_(self.x_proj_weight, -(inner**-0.5), inner**-0.5)
        nn.init.uniform_(self.dt_proj_weight, -(rank**-0.5), rank**-0.5)
        dt = torch.exp(torch.empty_like(self.dt_proj_bias).uniform_(math.log(1e-3), math.log(1e-1)))
        self.dt_proj_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
        self.A_log.copy_(torch.log(torch.arange(1, self.A_log.shape[2] + 1, dtype=torch.float32)).expand_as(self.A_log))
        nn.init.ones_(self.D)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)  # (B, H, W, C) -> (B, H, W, E) or (B, H, W, 2E)
        if self.gate:
            x, z = x.chunk(2, dim=-1)
        x = F.silu(self.conv(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)
        routes = self.scan.tables(x.shape[1], x.shape[2], x.device)
        parameters = (self.x_proj_weight, self.dt_proj_weight, self.dt_proj_bias, -torch.exp(self.A_log), self.D)
        y = self.out_norm(selective_scan_2d(x, routes, *parameters))
        if self.gate:
            y = y * F.silu(z)
        return self.out_proj(y)
