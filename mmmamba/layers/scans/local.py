"""Local scan of LocalMamba: routes in windows beside whole-map ones, each output through a shared channel gate."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mmmamba.layers.channel_gate import ChannelGate
from mmmamba.scans import SCAN_MODULES, Route, Scan

from .selective_scans import SelectiveScans, StateSpace


@SCAN_MODULES.register_module(name='local')
class LocalScan(SelectiveScans):
    """Routes with parameters of their own, every output through one shared channel gate, then summed.

    Args:
        channels: E.
        state: of the scans.
        routes: names of routes; those of the paper without a search unless said.
        padded: let the zeros take part that fill the windows at the right and bottom edge, as released; otherwise those
            windows are smaller.
        released_inverse: put the outputs of column-major routes back as the released code does: read as rows, not as
            columns. The same on a square map; on others it scrambles them, and is here to show what that code computes.

    Source: Huang et al., "LocalMamba" (2024), sections 3.2 and 3.3. (B, H, W, E) to the same shape.
    """

    def __init__(
        self,
        channels: int,
        state: StateSpace,
        *,
        routes: Sequence[str] = ('raster', 'raster.reverse', 'window:2', 'window:2.reverse'),
        padded: bool = False,
        released_inverse: bool = False,
    ) -> None:
        super().__init__()
        self.routes = Scan(routes)
        self.padded = padded
        self.released_inverse = released_inverse
        self.add_scans(channels, len(self.routes), state)
        self.gate = ChannelGate(channels)

    def forward(self, x: Tensor) -> Tensor:
        gated = self.gate(self._outputs(x), (2, 3))
        return gated.sum(0, dtype=gated.dtype)

    def _outputs(self, x: Tensor) -> Tensor:
        """Of each route: (K, B, H, W, E)."""
        h, w = x.shape[1:3]
        sizes = [filled_up(route, h, w) if self.padded else (h, w) for route in self.routes.routes]
        if all(size == (h, w) for size in sizes):
            tables = self.routes.tables(h, w, device=x.device, redraw=self.training)
            outputs = self.scan_along(x, tables, merge=False)
        else:
            outputs = self._scan_filled_up(x, sizes)
        if not self.released_inverse or h == w:
            return outputs
        return torch.stack([
            columns_read_as_rows(y) if 'transpose' in route.modifiers else y
            for route, y in zip(self.routes.routes, outputs, strict=True)
        ])  # fmt: skip

    def _scan_filled_up(self, x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        """The outputs where the routes walk maps of different sizes: those of one size are scanned together."""
        h, w = x.shape[1:3]
        state_mask = self.draw_state_mask(x)
        outputs: dict[int, Tensor] = {}
        for k, (rows, cols) in enumerate(sizes):
            if k not in outputs:
                together = [i for i, size in enumerate(sizes) if size == (rows, cols)]
                routes = Scan([self.routes.routes[i] for i in together])
                tables = routes.tables(rows, cols, device=x.device, redraw=self.training)
                filled = F.pad(x, (0, 0, 0, cols - w, 0, rows - h))
                y = self.scan_along(filled, tables, sets=together, merge=False, state_mask=state_mask)
                outputs |= zip(together, y[:, :, :h, :w], strict=True)
        return torch.stack([outputs[k] for k in range(len(sizes))])


def filled_up(route: Route, h: int, w: int) -> tuple[int, int]:
    """The sides of a map of whole windows, where the route has windows."""
    size = (route.parameters or (7,))[0] if route.base == 'window' else 1
    return h + -h % size, w + -w % size


def columns_read_as_rows(y: Tensor) -> Tensor:
    """What the released inverse makes of a map: its columns one after the other, viewed (H, W), transposed."""
    columns = y.transpose(1, 2).reshape(y.shape)  # the map column by column, in rows of W
    return columns.transpose(1, 2).reshape(y.shape)
