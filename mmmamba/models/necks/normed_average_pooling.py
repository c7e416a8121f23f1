"""The mean of a map, normed: what stands before the classifiers of RSMamba and Mamba-ND."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmmamba.layers import LayerNorm
from mmmamba.registry import MODELS


@MODELS.register_module()
class NormedAveragePooling(BaseModule):
    """Mean over the pixels, then LayerNorm: a tuple of maps (B, in_channels, H, W) to one vector (B, in_channels) each.

    Args:
        in_channels: channels of the maps.
        eps: of the norm.
        init_cfg: mmengine initialisation.
    """

    def __init__(self, in_channels: int, *, eps: float = 1e-6, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.norm = LayerNorm(in_channels, eps)

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(self.norm(x.mean((2, 3))) for x in maps)
