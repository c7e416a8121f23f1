"""Multi-scale scan of MSVMamba: some routes over the whole map, the others over one of half the resolution."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.norm import LayerNorm
from mmmamba.layers.squeeze_excite import SqueezeExcite
from mmmamba.scans import SCAN_MODULES, Scan, cached_tables

from .selective_scans import SelectiveScans, StateSpace

ROUTES = ('raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse')


@SCAN_MODULES.register_module(name='multiscale')
class MultiScaleScan(SelectiveScans):
    """The first ``full`` of four routes at full resolution, summed; the others on a map of half the resolution.

    Args:
        channels: E.
        state: of the scans.
        full: 1, 2 or 3 of the routes of ``cross`` (rows, rows reversed, columns, columns reversed).
        interpolation: how the small map grows again: ``bilinear``, each branch normed before the sum, as first
            released; or ``nearest``, one norm after the sum, as in the authors' branch v2.
        from_source: make the small map from the map before the mixer's convolution, as released.
        squeeze: factor by which a squeeze and excitation of the result reduces the channels; None leaves it out.

    The small map is a 7x7 depthwise convolution of stride 2 and SiLU; its routes follow each other in one sequence with
    one parameter set, number 0, so that the state runs on from one to the next. The norm is the mixer's own.

    Source: Shi et al., "Multi-Scale VMamba" (2024), section 3.3. (B, H, W, E) to the same shape.
    """

    normed = True

    def __init__(
        self,
        channels: int,
        state: StateSpace,
        *,
        full: int = 1,
        interpolation: str = 'bilinear',
        from_source: bool = False,
        squeeze: int | None = None,
    ) -> None:
        super().__init__()
        if full not in (1, 2, 3):
            raise ValueError(f"scan 'multiscale': full {full!r} is not 1, 2 or 3 of the four routes")
        if interpolation not in ('bilinear', 'nearest'):
            raise ValueError(f"scan 'multiscale': interpolation {interpolation!r} is not 'bilinear' or 'nearest'")
        self.interpolation, self.reads_source = interpolation, from_source
        self.full, self.half = Scan(ROUTES[:full]), Scan(ROUTES[full:])
        self.downsample = nn.Conv2d(channels, channels, 7, stride=2, padding=3, groups=channels)
        self.add_scans(channels, 1 + full, state)
        self.norm = LayerNorm(channels, narrow=True)
        self.squeeze = None if squeeze is None else SqueezeExcite(channels, channels // squeeze, bias=False)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        """Scan.

        Args:
            x: (B, H, W, E).
            source: what the small map is made of, with ``from_source``.
        """
        norm_first = self.interpolation == 'bilinear'
        full = self.scan_along(x, self.full.tables(*x.shape[1:3], device=x.device), sets=slice(1, None))
        half = self._scan_half(x if source is None else source, norm_first)
        half = F.interpolate(half.permute(0, 3, 1, 2), x.shape[1:3], mode=self.interpolation).permute(0, 2, 3, 1)
        y = self.norm(full) + half if norm_first else self.norm(full + half)
        return y if self.squeeze is None else self.squeeze(y)

    def _scan_half(self, x: Tensor, norm_first: bool) -> Tensor:
        x = F.silu(self.downsample(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)  # (B, H / 2, W / 2, E)
        h, w = x.shape[1:3]
        copies = len(self.half)  # a copy of the map for each route, one below the other: a route visits no pixel twice
        y = self.scan_along(x.repeat(1, copies, 1, 1), _chained(self.half, h, w, x.device), sets=slice(0, 1))
        y = self.norm(y) if norm_first else y
        return y.unflatten(1, (copies, h)).sum(1, dtype=y.dtype)


@cached_tables
def _chained(scan: Scan, h: int, w: int, device: torch.device) -> Tensor:
    """One route through as many copies of a map as there are routes, one below the other: (1, K * h * w)."""
    shifts = torch.arange(len(scan), device=device)[:, None] * (h * w)
    return (scan.tables(h, w, device=device) + shifts).view(1, -1)
