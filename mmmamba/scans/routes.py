"""Base routes. A route is a pure function ``(h, w) -> (L,)`` int64: the row-major index of the pixel at each step.

Those with a parameter take it as a keyword. Definitions follow the papers named; ``route.py`` names and modifies them.
"""

import math

import torch
from torch import Tensor

from mmmamba.registry import SCANS


@SCANS.register_module()
def raster(h: int, w: int) -> Tensor:
    """Row by row, left to right."""
    return torch.arange(h * w)


@SCANS.register_module()
def snake(h: int, w: int) -> Tensor:
    """Row by row, every other one from right to left; each step goes to a neighbour (PlainMamba, ZigMa)."""
    pixels = torch.arange(h * w).view(h, w)
    pixels[1::2] = pixels[1::2].flip(1)
    return pixels.flatten()


@SCANS.register_module()
def diagonal(h: int, w: int) -> Tensor:
    """Anti-diagonal by anti-diagonal from the top left corner, each from its top end."""
    r, c = _coordinates(h, w)
    return torch.argsort((r + c) * h + r)


@SCANS.register_module()
def continuous_diagonal(h: int, w: int) -> Tensor:
    """As ``diagonal``, odd ones from their bottom end; each step goes to a neighbour or a diagonal one."""
    r, c = _coordinates(h, w)
    odd = (r + c) % 2 == 1
    return torch.argsort((r + c) * h + torch.where(odd, h - 1 - r, r))


@SCANS.register_module()
def wrapped_diagonal(h: int, w: int) -> Tensor:
    """Diagonals from the top to the bottom row, going on at the left where they leave at the right (RS-Mamba)."""
    start, r = torch.arange(w).repeat_interleave(h), torch.arange(h).repeat(w)
    return r * w + (r + start) % w


@SCANS.register_module()
def wrapped_antidiagonal(h: int, w: int) -> Tensor:
    """Anti-diagonals from the top to the bottom row, going on at the right where they leave at the left (RS-Mamba)."""
    start, r = torch.arange(w).repeat_interleave(h), torch.arange(h).repeat(w)
    return r * w + (start - r) % w


@SCANS.register_module()
def spiral(h: int, w: int) -> Tensor:
    """From the centre outwards, ending at the top left corner: the reverse of peeling clockwise from that corner.

    The centre is where the peel ends: of a ring of one row its right end, of one column its bottom, of 2x2 the pixel
    at the bottom left.
    """
    r, c = _coordinates(h, w)
    ring = torch.minimum(torch.minimum(r, h - 1 - r), torch.minimum(c, w - 1 - c))
    right, down = w - 1 - 2 * ring, h - 1 - 2 * ring  # steps along a full side of the ring
    r, c = r - ring, c - ring
    back = torch.where(r == down, 2 * right + down - c, 2 * right + 2 * down - r)
    along = torch.where(r == 0, c, torch.where(c == right, right + r, back))
    return torch.argsort(ring * 2 * (h + w) + along).flip(0)


@SCANS.register_module()
def radial(h: int, w: int) -> Tensor:
    """Ray by ray around the centre, the pixel ``(h // 2, w // 2)``, each from the centre outwards.

    A ray is a sector of an angle; there are ``h + w`` of them, rounded to a multiple of eight, so that on a square map
    one holds about as many pixels as its radius. The first lies around the direction to the right, the others follow
    clockwise. On a ray the nearer pixel comes first, at the same distance the one earlier in the raster. The centre
    itself belongs to the first ray.
    """
    r, c = _coordinates(h, w)
    y, x = r - h // 2, c - w // 2
    rays = 8 * max(1, round((h + w) / 8))
    turn = torch.atan2(y.double(), x.double()) / (2 * math.pi) % 1
    ray = (turn * rays + 0.5).floor().long() % rays
    return torch.argsort(ray * (h**2 + w**2 + 1) + y**2 + x**2, stable=True)


@SCANS.register_module()
def window(h: int, w: int, *, size: int = 7) -> Tensor:
    """Window by window of ``size x size``, row by row inside; smaller at the right and bottom edge (LocalMamba)."""
    r, c = _coordinates(h, w)
    _check_at_least('window size', size, 1)
    block = r // size * -(-w // size) + c // size
    return torch.argsort((block * size + r % size) * size + c % size)


@SCANS.register_module()
def atrous(h: int, w: int, *, stride: int = 2) -> Tensor:
    """The ``stride x stride`` sub-grids of pixels that lie ``stride`` apart, one after the other.

    Those of even number are walked row by row, those of odd number column by column, as in EfficientVMamba's ES2D,
    where the sub-grid that starts at row i and column j has number ``j * stride + i``.
    """
    return torch.cat(atrous_grids(h, w, stride=stride))


def atrous_grids(h: int, w: int, *, stride: int = 2) -> list[Tensor]:
    """The parts of ``atrous``, in order; of different lengths where h or w is no multiple of ``stride``."""
    _check_at_least('atrous stride', stride, 1)
    pixels = torch.arange(h * w).view(h, w)
    grids = [pixels[number % stride :: stride, number // stride :: stride] for number in range(stride**2)]
    return [(grid.T if number % 2 else grid).flatten() for number, grid in enumerate(grids)]


@SCANS.register_module()
def shuffle(h: int, w: int, *, seed: int = 0) -> Tensor:
    """A permutation drawn from ``seed``; a mixer in training draws another one at each call (RSMamba)."""
    _check_at_least('shuffle seed', seed, 0)
    return torch.randperm(h * w, generator=torch.Generator().manual_seed(seed))


def _check_at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f'{name} {value!r} must be a whole number of at least {least}')


def _coordinates(h: int, w: int) -> tuple[Tensor, Tensor]:
    pixels = torch.arange(h * w)
    return pixels // w, pixels % w
