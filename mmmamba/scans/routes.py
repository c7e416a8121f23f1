"""Base routes. A route is a pure function ``(h, w) -> (L,)`` int64: the row-major index of the pixel at each step."""

import torch
from torch import Tensor

from mmmamba.registry import SCANS


@SCANS.register_module()
def raster(h: int, w: int) -> Tensor:
    """Row by row, left to right."""
    return torch.arange(h * w)
