"""Weight normalisation of stacked projections."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize


class WeightNorm(nn.Module):
    """``g * v / |v|`` for each row, the last dimension of a weight ``(..., rows, columns)``; starts at its value.

    Source: Salimans and Kingma, "Weight Normalization" (2016).
    """

    def forward(self, g: Tensor, v: Tensor) -> Tensor:
        return g * v / torch.linalg.vector_norm(v, dim=-1, keepdim=True)

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The ``g`` and ``v`` that give ``weight``."""
        return torch.linalg.vector_norm(weight, dim=-1, keepdim=True), weight


def add_weight_norm(module: nn.Module, name: str) -> None:
    """Normalise the rows of a module's weight; rows of one element stay, they have no direction."""
    if getattr(module, name).shape[-1] > 1:
        parametrize.register_parametrization(module, name, WeightNorm())
