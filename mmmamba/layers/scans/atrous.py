"""Atrous scan of EfficientVMamba (ES2D): the sub-grids of a map, each scanned on its own."""

from torch import Tensor
from torch.nn import functional as F

from mmmamba.scans import SCAN_MODULES, Scan

from .selective_scans import SelectiveScans, StateSpace


@SCAN_MODULES.register_module(name='atrous')
class AtrousScan(SelectiveScans):
    """``stride ** 2`` scans with parameters of their own over pixels that lie ``stride`` apart, interleaved.

    Every pixel is scanned once. A map that is no multiple of ``stride`` is padded with zeros at the bottom and right,
    which take part in the scans, and cut back, as released.

    Source: Pei et al., "EfficientVMamba" (2024), section 3.2. (B, H, W, E) to the same shape.
    """

    def __init__(self, channels: int, state: StateSpace, *, stride: int = 2) -> None:
        super().__init__()
        self.stride = stride
        self.route = Scan([dict(type='atrous', stride=stride)])
        self.add_scans(channels, stride**2, state)

    def forward(self, x: Tensor) -> Tensor:
        h, w = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -w % self.stride, 0, -h % self.stride))
        tables = self.route.tables(*x.shape[1:3], device=x.device).view(self.stride**2, -1)  # one row a sub-grid
        return self.scan_along(x, tables)[:, :h, :w]
