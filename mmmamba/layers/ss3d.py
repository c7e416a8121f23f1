"""SS3D: the mixer of VMamba on clips and volumes."""

from mmmamba.layers.ss2d import SS2D
from mmmamba.scans import ScanSpec


class SS3D(SS2D):
    """Selective scan over a channels-last clip or volume, (B, T, H, W, embed_dims) to the same shape.

    Args:
        embed_dims: channels.
        d_state: as in SS2D.
        ssm_ratio: as in SS2D.
        dt_rank: as in SS2D.
        conv_bias: whether the depthwise 3x3x3 convolution has a bias.
        gate: as in SS2D.
        scan: ``bidirectional_3d`` (VideoMamba), ``spatiotemporal`` (Vivim: frame-major both ways and time-major, mean),
            or routes through volumes, such as ``['hilbert_3d', 'raster_3d.temporal.reverse']``.
        state_dropout: as in SS2D.
        weight_norm: as in SS2D.
    """

    axes = 3

    def __init__(
        self,
        embed_dims: int,
        *,
        d_state: int = 1,
        ssm_ratio: float = 2.0,
        dt_rank: int | str = 'auto',
        conv_bias: bool = False,
        gate: bool = False,
        scan: ScanSpec = 'bidirectional_3d',
        state_dropout: float = 0.0,
        weight_norm: bool = False,
    ) -> None:
        super().__init__(
            embed_dims,
            d_state=d_state,
            ssm_ratio=ssm_ratio,
            dt_rank=dt_rank,
            conv_bias=conv_bias,
            gate=gate,
            scan=scan,
            state_dropout=state_dropout,
            weight_norm=weight_norm,
        )
