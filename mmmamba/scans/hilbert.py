"""The Hilbert curve over a map or volume of any size, not padded to a power of two.

A box is cut along its edges into two to five boxes, each walked by the same rule in its own orientation, until all are
lines (the construction known as the generalised Hilbert curve, J. Červený). All boxes of one depth are cut in the same
array operations, and small ones are stamped from templates: a 512x512 order takes milliseconds.

A box is a corner and three edge vectors a, b, c: the curve enters at the corner and leaves at the end of a.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from mmmamba.registry import SCANS

_TEMPLATE_VOXELS = 64  # boxes up to this size are stamped


@SCANS.register_module()
def hilbert(h: int, w: int) -> Tensor:
    """From the top left corner along the longer side; at most one step, where a side is odd, is diagonal."""
    return hilbert_3d(1, h, w)


@SCANS.register_module()
def hilbert_shifted(h: int, w: int) -> Tensor:
    """The curve over a map with a quarter more rows and columns at the top and left, as far as it runs over this one.

    Its quadrants meet elsewhere than those of ``hilbert``, so that neighbours which the one keeps apart are close in
    the other. It jumps where it leaves the map and comes back.
    """
    rows, cols = -(-h // 4), -(-w // 4)
    pixels = hilbert(h + rows, w + cols)
    r, c = pixels // (w + cols) - rows, pixels % (w + cols) - cols
    return (r * w + c)[(r >= 0) & (c >= 0)]


@SCANS.register_module()
def hilbert_3d(t: int, h: int, w: int) -> Tensor:
    """Hilbert curve through a volume; a step moves by at most one voxel along each axis.

    Args:
        t: frames or slices.
        h: rows.
        w: columns.

    Returns:
        (t * h * w,) int64: index ``(frame * h + row) * w + column`` of the voxel at each step.
    """
    sides = np.array([t, h, w])
    edges = np.diag(sides)[np.argsort(-sides, kind='stable')]  # the longest side first
    return torch.from_numpy(_walk(edges, _TEMPLATE_VOXELS) @ np.array([h * w, w, 1]))


def _walk(edges: np.ndarray, template_voxels: int) -> np.ndarray:
    """Voxels (steps, 3) of the box at the origin with the given edges (3, axis), in walking order."""
    corners, edges = np.zeros((1, 3), np.int64), edges[None]
    while True:
        lengths = np.abs(edges).sum(2)  # (boxes, 3)
        is_done = ((lengths > 1).sum(1) <= 1) | (lengths.prod(1) <= template_voxels)
        if is_done.all():
            return _stamp(corners, edges, lengths)
        corners, edges = _cut(corners, edges, lengths, is_done)


def _stamp(corners: np.ndarray, edges: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    steps = lengths.prod(1)
    first = np.cumsum(steps) - steps
    voxels = np.empty((steps.sum(), 3), np.int64)
    shapes, shape_of = np.unique(lengths, axis=0, return_inverse=True)
    for i, shape in enumerate(shapes.tolist()):
        boxes = np.flatnonzero(shape_of.ravel() == i)
        template = _template(*shape)
        at = first[boxes, None] + np.arange(len(template))
        voxels[at] = corners[boxes, None] + template @ np.sign(edges[boxes])  # (boxes, steps, axis)
    return voxels


@lru_cache(maxsize=256)
def _template(a: int, b: int, c: int) -> np.ndarray:
    """Steps (a * b * c, 3) along the edges of a box with edges of these lengths."""
    lengths = np.array([a, b, c])
    if (lengths > 1).sum() <= 1:
        return np.arange(lengths.max())[:, None] * (lengths == lengths.max())
    return _walk(np.diag(lengths), template_voxels=1)


def _cut(
    corners: np.ndarray, edges: np.ndarray, lengths: np.ndarray, is_done: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Corners and edges of the parts of all boxes, in walking order; those that are done stay whole."""
    count = np.ones(len(corners), np.int64)
    parts = np.zeros((len(corners), 5, 4, 3), np.int64)  # up to five parts, each a corner and three edges
    parts[:, 0, 0], parts[:, 0, 1:] = corners, edges
    w, h, d = lengths.T
    is_long = 2 * w > 3 * np.maximum(h, d)
    rules = (
        (_halves, is_long),
        (_three_across_b, ~is_long & (3 * h > 4 * d)),
        (_three_across_c, ~is_long & (3 * d > 4 * h)),
        (_five, ~is_long & (3 * h <= 4 * d) & (3 * d <= 4 * h)),
    )
    for rule, applies in rules:
        boxes = np.flatnonzero(applies & ~is_done)
        for i, part in enumerate(rule(corners[boxes], *edges[boxes].transpose(1, 0, 2))):
            parts[boxes, i] = np.stack(part, axis=1)
            count[boxes] = i + 1
    kept = parts[np.arange(5) < count[:, None]]
    return kept[:, 0], kept[:, 1:]


Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # corner and edges, each (boxes, axis)


def _halves(corner: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[Part]:
    half = _half(a)
    return [(corner, half, b, c), (corner + half, a - half, b, c)]


def _three_across_b(corner: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[Part]:
    """Out along b, across along a, and back."""
    half_a, half_b = _half(a), _half(b)
    return [
        (corner, half_b, c, half_a),
        (corner + half_b, a, b - half_b, c),
        (corner + a - np.sign(a) + half_b - np.sign(b), -half_b, c, half_a - a),
    ]


def _three_across_c(corner: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[Part]:
    """Out along c, across along a, and back."""
    half_a, half_c = _half(a), _half(c)
    return [
        (corner, half_c, half_a, b),
        (corner + half_c, a, b, c - half_c),
        (corner + a - np.sign(a) + half_c - np.sign(c), -half_c, half_a - a, b),
    ]


def _five(corner: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> list[Part]:
    """Out along b, along c, across along a, back along c, back along b."""
    half_a, half_b, half_c = _half(a), _half(b), _half(c)
    last_a, last_b, last_c = a - np.sign(a), half_b - np.sign(b), c - np.sign(c)
    return [
        (corner, half_b, half_c, half_a),
        (corner + half_b, c, half_a, b - half_b),
        (corner + last_b + last_c, a, -half_b, half_c - c),
        (corner + last_a + half_b + last_c, -c, half_a - a, b - half_b),
        (corner + last_a + last_b, -half_b, half_c, half_a - a),
    ]


def _half(edge: np.ndarray) -> np.ndarray:
    """Half of each edge, a voxel more where that is odd: after an even number the curve ends where the next begins."""
    length = np.abs(edge).sum(1, keepdims=True)
    half = length // 2
    return np.sign(edge) * (half + ((half % 2 == 1) & (length > 2)))
