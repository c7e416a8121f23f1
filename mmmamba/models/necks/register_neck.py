"""What stands between the registers of Mamba-R and its classifier."""

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmamba.layers import NORMS
from mmmamba.registry import MODELS


@MODELS.register_module()
class RegisterNeck(BaseModule):
    """Make every register narrower by one shared layer, join them and norm the result; (B, n, C) to (B, n * C / r).

    Args:
        in_channels: width C of a register.
        num_registers: n.
        reduction: r; 1: the registers are joined as they are, without a norm.
        norm: ``RMS``, as published, or ``LN``.
        eps: of the norm.
        init_cfg: mmengine initialisation.
    """

    def __init__(
        self,
        in_channels: int,
        num_registers: int,
        reduction: int = 1,
        *,
        norm: str = 'RMS',
        eps: float = 1e-5,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        width = in_channels // reduction
        self.proj = nn.Linear(in_channels, width, bias=False) if reduction > 1 else nn.Identity()
        self.norm = NORMS[norm](num_registers * width, eps) if reduction > 1 else nn.Identity()

    def forward(self, registers: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return tuple(self.norm(self.proj(x).flatten(1)) for x in registers)
