"""Omnidirectional scan of VmambaIR: over space, and over the channels pooled from it."""

from dataclasses import replace

from torch import Tensor, nn

from mmmamba.scans import SCAN_MODULES, build_scan

from .selective_scans import SelectiveScans, StateSpace


@SCAN_MODULES.register_module(name='omnidirectional_channel')
class OmnidirectionalChannelScan(SelectiveScans):
    """``y + y * c``: y the map scanned as in ``cross``, c a scan of its channel means as a sequence, both ways.

    Source: Shi et al., "VmambaIR" (2024), section 3.3. (B, H, W, E) to the same shape.
    """

    def __init__(self, channels: int, state: StateSpace) -> None:
        super().__init__()
        self.routes = build_scan('cross')
        self.add_scans(channels, len(self.routes), state)
        self.channel = _ChannelScan(channels, state)

    def forward(self, x: Tensor) -> Tensor:
        y = self.scan_along(x, self.routes.tables(*x.shape[1:3], device=x.device))
        return y + y * self.channel(y.mean((1, 2)))[:, None, None]


class _ChannelScan(SelectiveScans):
    """(B, E) to the same shape: E steps, each lifted to a few features, scanned forwards and backwards, normed."""

    def __init__(self, channels: int, state: StateSpace, features: int = 4) -> None:
        super().__init__()
        self.routes = build_scan('bidirectional')
        self.lift = nn.Linear(1, features)
        self.add_scans(features, len(self.routes), replace(state, dt_rank=1))
        self.lower = nn.Linear(features, 1, bias=False)  # the norm takes a bias away
        self.norm = nn.LayerNorm(channels)

    def forward(self, pooled: Tensor) -> Tensor:
        steps = self.lift(pooled[:, :, None, None])  # (B, E) -> (B, E, 1, features), a map of one column
        y = self.scan_along(steps, self.routes.tables(*steps.shape[1:3], device=steps.device))
        return self.norm(self.lower(y).flatten(1))
