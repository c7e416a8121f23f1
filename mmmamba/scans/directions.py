"""The direction in which a route reaches each pixel."""

import torch
from torch import Tensor

DIRECTIONS = ('start', 'right', 'left', 'up', 'down')  # PlainMamba's five, in its order


def directions(table: Tensor, w: int) -> Tensor:
    """Direction of the step that leads to each pixel of a map.

    Args:
        table: (K, L) int64. Routes that visit each pixel once.
        w: columns of the map.

    Returns:
        (K, L) int64, by pixel: index into ``DIRECTIONS``; a diagonal step or a jump counts along its longer side, as a
        horizontal one where both are equal.
    """
    rows, cols = table // w, table % w
    down, right = rows.diff(dim=1), cols.diff(dim=1)
    horizontal = torch.where(right > 0, 1, 2)
    codes = torch.where(right.abs() >= down.abs(), horizontal, torch.where(down < 0, 3, 4))
    codes = torch.cat([torch.zeros_like(table[:, :1]), codes], dim=1)
    return torch.empty_like(table).scatter_(1, table, codes)
