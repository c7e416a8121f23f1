"""SS2D, the mixer of VMamba: project, depthwise convolution, selective scan along K routes, norm, gate, project."""

import math

from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.norm import LayerNorm
from mmmamba.layers.plain import are_plain
from mmmamba.layers.scans import SelectiveScans, StateSpace, build_layer_scan
from mmmamba.layers.weight_norm import add_weight_norm
from mmmamba.ops import depthwise_conv2d, serves_fused
from mmmamba.scans import Scan, ScanSpec

CONVOLUTIONS = {2: nn.Conv2d, 3: nn.Conv3d}


class SS2D(SelectiveScans):
    """2-D selective scan over a channels-last map, (B, H, W, embed_dims) to the same shape.

    Args:
        embed_dims: channels of the map.
        d_state: size of the state per channel, N.
        ssm_ratio: width of the scan over ``embed_dims``.
        dt_rank: rank R of the step size's projection; ``auto`` is ``ceil(embed_dims / 16)``.
        conv_size: odd size of the depthwise convolution.
        conv_bias: whether it has a bias.
        proj_bias: whether the input and output projections have one.
        normed: norm the scan's output; a scan that norms its output itself is left alone either way.
        gate: multiply the normed scan by ``SiLU(z)``, z a second half of the input projection.
        scan: name of a scan or list of routes, of which every route has its own projections, A and D; or a scan with
            parameters and a merge of its own. :func:`mmmamba.layers.scans.build_layer_scan` says what there is.
        state_dropout: rate at which training drops states, for each sample along the whole sequence.
        weight_norm: normalise the rows of the scan's projections and of the output projection.

    Source: Liu et al., "VMamba: Visual State Space Model" (2024), section 4.2 and figure 3. The released models with a
    d_state of 1 have no gate and no activation after the norm.
    """

    axes = 2  # of the map

    def __init__(
        self,
        embed_dims: int,
        *,
        d_state: int = 1,
        ssm_ratio: float = 2.0,
        dt_rank: int | str = 'auto',
        conv_size: int = 3,
        conv_bias: bool = False,
        proj_bias: bool = False,
        normed: bool = True,
        gate: bool = False,
        scan: ScanSpec = 'cross',
        state_dropout: float = 0.0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        if conv_size < 1 or conv_size % 2 == 0:
            raise ValueError(f'conv_size {conv_size!r} must be odd, so that the convolution keeps the size of the map')
        inner = int(ssm_ratio * embed_dims)
        rank = math.ceil(embed_dims / 16) if dt_rank == 'auto' else dt_rank
        state = StateSpace(d_state, rank, state_dropout, weight_norm)
        self.gate = gate
        self.in_proj = nn.Linear(embed_dims, 2 * inner if gate else inner, bias=proj_bias)
        self.conv = CONVOLUTIONS[self.axes](
            inner, inner, conv_size, padding=conv_size // 2, groups=inner, bias=conv_bias
        )
        self.out_norm = LayerNorm(inner, narrow=True) if normed else nn.Identity()
        self.out_proj = nn.Linear(inner, embed_dims, bias=proj_bias)
        self.scan = build_layer_scan(scan, inner, state, self.axes)
        if isinstance(self.scan, Scan):
            self.add_scans(inner, len(self.scan), state)
        elif self.scan.normed:
            self.out_norm = nn.Identity()
        if weight_norm:
            add_weight_norm(self.out_proj, 'weight')

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_proj(x)  # (B, H, W, C) -> (B, H, W, E) or (B, H, W, 2E)
        if self.gate:
            x, z = x.chunk(2, dim=-1)
        source, x = x, self._convolve(x)
        if isinstance(self.scan, Scan):
            y = self._scan_routes(x)
        else:
            y = self.scan(x, source) if self.scan.reads_source else self.scan(x)
        y = self.out_norm(y)
        if self.gate:
            y = y * F.silu(z)
        return self.out_proj(y)

    def _convolve(self, x: Tensor) -> Tensor:
        if serves_fused(x) and are_plain((self.conv,), (nn.Conv2d,)):
            return depthwise_conv2d(x, self.conv.weight, self.conv.bias, silu=True)
        return F.silu(self.conv(x.movedim(-1, 1))).movedim(1, -1)

    def _scan_routes(self, x: Tensor) -> Tensor:
        tables = self.scan.tables(*x.shape[1:-1], device=x.device, redraw=self.training)
        y = self.scan_along(x.flatten(1, -3), tables).view(x.shape)  # a volume is a map of t * h rows
        return y if self.scan.merge == 'sum' else y * self.scan.weight
