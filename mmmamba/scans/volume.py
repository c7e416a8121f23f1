"""Base routes through a volume: ``(t, h, w) -> (t * h * w,)``, voxel ``(frame * h + row) * w + column`` at each step.

``hilbert_3d`` stands in ``hilbert.py``. ``.temporal`` walks a volume with time as the fastest axis.
"""

import torch
from torch import Tensor

from mmmamba.registry import SCANS


@SCANS.register_module()
def raster_3d(t: int, h: int, w: int) -> Tensor:
    """Frame by frame, row by row, left to right (VideoMamba, Vivim)."""
    return torch.arange(t * h * w)


@SCANS.register_module()
def snake_3d(t: int, h: int, w: int) -> Tensor:
    """As ``raster_3d``, every other row and every other frame backwards; each step goes to a neighbour."""
    voxels = torch.arange(t * h * w).view(t, h, w)
    voxels[1::2] = voxels[1::2].flip(1)
    rows = voxels.view(t * h, w)
    rows[1::2] = rows[1::2].flip(1)
    return rows.flatten()
