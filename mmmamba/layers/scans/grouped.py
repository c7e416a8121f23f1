"""Grouped scan of GroupMamba, the multi-head scan of others: each group of channels along a route of its own."""

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from mmmamba.scans import NAMED_SCANS, SCAN_MODULES, Scan

from .selective_scans import SelectiveScans, StateSpace


@SCAN_MODULES.register_module(name='grouped')
class GroupedScan(SelectiveScans):
    """As many equal groups of neighbouring channels as routes, each with parameters over its channels alone.

    Args:
        channels: E, a multiple of the number of routes.
        state: of the scans; the groups share its ``dt_rank`` out.
        routes: names of routes, one for each group.

    Raises:
        ValueError: if the groups are not equal.

    Source: Shaker et al., "GroupMamba" (2024), section 3.3. (B, H, W, E) to the same shape.
    """

    def __init__(self, channels: int, state: StateSpace, *, routes: Sequence[str] = NAMED_SCANS['cross']) -> None:
        super().__init__()
        self.routes = Scan(routes)
        groups = len(self.routes)
        if channels % groups:
            raise ValueError(f"scan 'grouped': {channels} channels do not make {groups} equal groups, one a route")
        self.add_scans(channels // groups, groups, replace(state, dt_rank=math.ceil(state.dt_rank / groups)))

    def forward(self, x: Tensor) -> Tensor:
        return self.scan_along(x, self.routes.tables(*x.shape[1:3], device=x.device, redraw=self.training))
