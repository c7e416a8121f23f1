"""Local scan of LocalMamba: routes in windows beside whole-map ones, each output through a shared channel gate."""

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from mmmamba.layers.channel_gate import ChannelGate
from mmmamba.scans import SCAN_MODULES, Scan

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
        return sum(self.gate(y) for y in self._outputs(x))

    def _outputs(self, x: Tensor) -> list[Tensor]:
        if self.padded:
            state_mask = self.draw_state_mask(x)
            outputs = [self._scan_padded(x, k, state_mask) for k in range(len(self.routes))]
        else:
            outputs = self.scan_each(x, self.routes.tables(*x.shape[1:3], device=x.device, redraw=self.training))
        if not self.released_inverse:
            return outputs
        return [
            columns_read_as_rows(y) if 'transpose' in route.modifiers else y
            for route, y in zip(self.routes.routes, outputs, strict=True)
        ]

    def _scan_padded(self, x: Tensor, k: int, state_mask: Tensor | None) -> Tensor:
        route, (h, w) = self.routes.routes[k], x.shape[1:3]
        size = (route.parameters or (7,))[0] if route.base == 'window' else 1
        x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
        table = Scan([route]).tables(*x.shape[1:3], device=x.device, redraw=self.training)
        return self.scan_along(x, table, sets=slice(k, k + 1), state_mask=state_mask)[:, :h, :w]


def columns_read_as_rows(y: Tensor) -> Tensor:
    """What the released inverse makes of a map: its columns one after the other, viewed (H, W), transposed."""
    columns = y.transpose(1, 2).reshape(y.shape)  # the map column by column, in rows of W
    return columns.transpose(1, 2).reshape(y.shape)
