"""Gated multi-path scan of RSMamba: routes with shared parameters, weighted by a gate from their outputs."""

from collections.abc import Sequence

from torch import Tensor, nn

from mmmamba.scans import SCAN_MODULES, Scan

from .selective_scans import SelectiveScans, StateSpace


@SCAN_MODULES.register_module(name='gated')
class GatedScan(SelectiveScans):
    """Sum of the routes' outputs, weighted for each image by a softmax over a projection of their means.

    Args:
        channels: E.
        state: of the one parameter set.
        routes: names of routes; ``shuffle`` is drawn at each call in training and from its seed in evaluation.

    Source: Chen et al., "RSMamba" (2024), section 3.3. (B, H, W, E) to the same shape.
    """

    def __init__(
        self,
        channels: int,
        state: StateSpace,
        *,
        routes: Sequence[str] = ('raster', 'raster.reverse', 'shuffle'),
    ) -> None:
        super().__init__()
        self.routes = Scan(routes)
        self.add_scans(channels, 1, state)
        self.gate = nn.Linear(len(self.routes) * channels, len(self.routes), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        tables = self.routes.tables(*x.shape[1:3], device=x.device, redraw=self.training)
        outputs = self.scan_along(x, tables, merge=False)  # (K, B, H, W, E)
        means = outputs.mean((2, 3)).transpose(0, 1).flatten(1)  # (B, K * E)
        weights = self.gate(means).softmax(-1).T[:, :, None, None, None]
        return (weights * outputs).sum(0)
