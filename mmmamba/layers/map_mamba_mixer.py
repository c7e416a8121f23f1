"""The 1-D Mamba mixer on a map or a volume, along one route."""

from torch import Tensor

from mmmamba.layers.mamba_mixer import MambaMixer
from mmmamba.scans import ScanSpec, build_scan, check_axes


class MapMambaMixer(MambaMixer):
    """Mamba over the pixels of a map in the order of a route, (B, H, W, embed_dims) to the same shape.

    With ``axes`` of 3 over the voxels of a clip or volume, (B, T, H, W, embed_dims).

    Args:
        embed_dims: width of a token.
        scan: one route, such as ``'raster'`` or ``'raster.transpose.reverse'``.
        d_state: as in MambaMixer.
        expand: as in MambaMixer.
        d_conv: as in MambaMixer.
        axes: 2 for maps, 3 for volumes.

    Raises:
        ValueError: if the scan is not one route, or a route over maps where ``axes`` is 3, or the reverse.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        scan: ScanSpec = 'raster',
        d_state: int = 16,
        expand: float = 2,
        d_conv: int = 4,
        axes: int = 2,
    ) -> None:
        super().__init__(embed_dims, d_state=d_state, expand=expand, d_conv=d_conv)
        self.scan = build_scan(scan)
        if len(self.scan) != 1:
            raise ValueError(
                f'scan {scan!r} has {len(self.scan)} routes; this mixer walks one, and different layers different ones '
                "by a schedule such as 'mamba_nd' or 'alternating:raster/snake'"
            )
        check_axes(scan, self.scan.axes, axes)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, -2)
        if self.scan.names in (('raster',), ('raster_3d',)):
            return super().forward(tokens).view(x.shape)
        (order,) = self.scan.tables(*x.shape[1:-1], device=x.device, redraw=self.training)
        return super().forward(tokens[:, order])[:, order.argsort()].view(x.shape)
