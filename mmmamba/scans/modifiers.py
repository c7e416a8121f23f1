"""The words that modify a route: walk it backwards, or walk it over a map that was flipped, turned or transposed.

A modifier maps a route ``(*sizes) -> (L,)`` to another one. The symmetries act on rows and columns, in a volume
(t, h, w) on those of every frame; ``temporal`` and ``flip_t`` are for volumes only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Order = Callable[..., Tensor]  # sizes, (h, w) or (t, h, w), to the pixel of each step


def _reverse(order: Order) -> Order:
    return lambda *sizes: order(*sizes).flip(0)


def _walking(view: Callable[[Tensor], Tensor]) -> Callable[[Order], Order]:
    """The modifier that walks ``view(map)``, told in pixels of the map as it is."""

    def modify(order: Order) -> Order:
        def modified(*sizes: int) -> Tensor:
            pixels = view(torch.arange(torch.Size(sizes).numel()).view(sizes))
            return pixels.flatten()[order(*pixels.shape)]

        return modified

    return modify


# The symmetries of the square besides identity; rotations turn the map counterclockwise.
SYMMETRIES = {
    'transpose': _walking(lambda pixels: pixels.mT),
    'antitranspose': _walking(lambda pixels: pixels.flip(-2, -1).mT),
    'flip_h': _walking(lambda pixels: pixels.flip(-1)),
    'flip_v': _walking(lambda pixels: pixels.flip(-2)),
    'rotate90': _walking(lambda pixels: pixels.rot90(1, (-2, -1))),
    'rotate180': _walking(lambda pixels: pixels.rot90(2, (-2, -1))),
    'rotate270': _walking(lambda pixels: pixels.rot90(3, (-2, -1))),
}
VOLUME_MODIFIERS = {
    'temporal': _walking(lambda voxels: voxels.movedim(0, -1)),  # time runs fastest: (t, h, w) walked as (h, w, t)
    'flip_t': _walking(lambda voxels: voxels.flip(0)),
}
MODIFIERS = {'reverse': _reverse, **SYMMETRIES}
