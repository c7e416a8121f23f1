"""Scenes composed of scanned handwritten digits: arrays only, seeded, the same for the same seed.

Scans: the 1,797 digits, 8x8 in 17 grey levels, that scikit-learn ships (`sklearn.datasets.load_digits`), from
E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, CC BY 4.0.
Images are (H, W, 3) uint8 in OpenCV's order of colours, BGR. `handwriting_folder` writes them to files.
"""

from dataclasses import dataclass

import cv2
import numpy as np

INK_THRESHOLD = 0.5  # an enlarged scan, 0 to 1, is ink above it
LUMA = np.array([0.114, 0.587, 0.299])  # of B, G, R (ITU-R BT.601)


@dataclass(frozen=True)
class Scans:
    """Scanned digits.

    Attributes:
        images: (N, 8, 8) float32, 0 (paper) to 1 (ink).
        labels: (N,) int64, the digit, 0 to 9.
        ids: (N,) int64, the position in scikit-learn's set.
    """

    images: np.ndarray
    labels: np.ndarray
    ids: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> 'Scans':
        """Return the scans at the positions ``chosen``, (M,) int64."""
        return Scans(self.images[chosen], self.labels[chosen], self.ids[chosen])


@dataclass(frozen=True)
class Scene:
    """An image with the digits in it, none of which covers another.

    Attributes:
        image: (H, W, 3) uint8, BGR.
        masks: (N, H, W) bool, the ink of each digit.
        labels: (N,) int64, the digit, 0 to 9.
        scan_ids: (N,) int64, the scan that each digit is an enlargement of.
    """

    image: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    scan_ids: np.ndarray

    def boxes(self) -> np.ndarray:
        """Return (N, 4) int64 boxes x1, y1, x2, y2 around the masks, the right and bottom end excluded."""
        return np.stack([_tight_box(mask) for mask in self.masks])

    def label_map(self) -> np.ndarray:
        """Return the (H, W) uint8 map of classes: 0 is background, ``d + 1`` the digit ``d``."""
        return np.max(self.masks * (self.labels + 1)[:, None, None], axis=0).astype(np.uint8)


def load_scans() -> Scans:
    """Return the 1,797 scans of scikit-learn in its order."""
    from sklearn.datasets import load_digits  # here, because it takes a second that the datasets' other users can save

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    return Scans((digits.images / 16).astype(np.float32), labels, np.arange(len(labels)))


def split_scans(scans: Scans, val_count: int = 400, seed: int = 0) -> tuple[Scans, Scans]:
    """Divide scans at random before anything is composed of them, so that train and val share none.

    Args:
        scans: what to divide.
        val_count: number of scans for val.
        seed: of the permutation.

    Returns:
        The scans of train and those of val.

    Raises:
        ValueError: if one of them would be empty.
    """
    if not 0 < val_count < len(scans):
        raise ValueError(f'val_count {val_count} leaves train or val without scans; it must be 1 to {len(scans) - 1}')
    order = np.random.default_rng([seed, 0]).permutation(len(scans))
    return scans.take(np.sort(order[val_count:])), scans.take(np.sort(order[:val_count]))


def compose_scene(
    scans: Scans,
    rng: np.random.Generator,
    *,
    size: int = 128,
    digits: tuple[int, int] = (3, 6),
    digit_size: tuple[int, int] = (20, 56),
) -> Scene:
    """Write several digits at random places, in random sizes and dark colours, on light paper with blobs and grain.

    The strokes of two digits never touch, their boxes overlap by a quarter of the smaller one at most.

    Args:
        scans: what to choose the digits from.
        rng: the only source of randomness.
        size: height and width of the image.
        digits: least and largest number of digits.
        digit_size: least and largest height in pixels that the eight rows of a scan are enlarged to.

    Returns:
        The scene.
    """
    image = _background(size, rng)
    taken = np.zeros((size, size), bool)  # ink and the pixels next to it
    masks, boxes, chosen = [], [], []
    for index in rng.choice(len(scans), rng.integers(digits[0], digits[1] + 1), replace=False):
        ink, (top, left), box = _place(scans.images[index], size, digit_size, taken, boxes, rng)
        height, width = ink.shape
        window = image[top : top + height, left : left + width]
        colour = _ink_colour(window.mean(axis=(0, 1)), rng)
        window += _opacity(ink)[..., None] * (colour - window)
        mask = np.zeros((size, size), bool)
        mask[top : top + height, left : left + width] = ink > INK_THRESHOLD
        taken |= cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)
        masks.append(mask)
        boxes.append(box)
        chosen.append(index)
    pixels = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    return Scene(pixels, np.stack(masks), scans.labels[chosen], scans.ids[chosen])


def compose_digit(scan: np.ndarray, rng: np.random.Generator, *, size: int = 32) -> np.ndarray:
    """Enlarge one scan to dark ink on light paper, at a random place and in random size and contrast.

    Args:
        scan: (8, 8) float32, 0 to 1.
        rng: the only source of randomness.
        size: height and width of the image.

    Returns:
        (size, size) uint8, grey.
    """
    ink = _enlarge(scan, rng.uniform(0.65, 0.85) * size)
    height, width = ink.shape
    top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
    paper, dark = rng.uniform(195, 255), rng.uniform(0, 105)
    image = np.full((size, size), paper, np.float32)
    image[top : top + height, left : left + width] += _opacity(ink) * (dark - paper)
    return np.rint(image).astype(np.uint8)


def _background(size: int, rng: np.random.Generator) -> np.ndarray:
    """(size, size, 3) float32, light paper: a colour, large blobs of others, grey grain of random strength and size."""
    blobs = rng.uniform(150, 235, 3) + rng.uniform(-40, 40, (4, 4, 3))
    cells = rng.integers(size // 8, size // 2 + 1)
    grain = rng.normal(0, rng.uniform(0, 10), (cells, cells))
    smooth = [cv2.resize(layer, (size, size), interpolation=cv2.INTER_CUBIC) for layer in (blobs, grain)]
    return np.clip(smooth[0] + smooth[1][..., None], 0, 255).astype(np.float32)


def _enlarge(scan: np.ndarray, rows: float) -> np.ndarray:
    """Enlarge (8, 8) to ``rows`` rows by cubic interpolation and cut it to what is visible: (h, w) float32."""
    padded = np.pad(scan, 1)  # strokes that reach the edge of the scan end softly
    side = round(rows * len(padded) / len(scan))
    ink = cv2.resize(padded, (side, side), interpolation=cv2.INTER_CUBIC)
    left, top, right, bottom = _tight_box(_opacity(ink) > 0)
    return ink[top:bottom, left:right]


def _opacity(ink: np.ndarray) -> np.ndarray:
    """Turn an enlarged scan into 0 to 1 with a soft edge, one half at the threshold of the mask."""
    return np.clip((ink - INK_THRESHOLD) / 0.3 + 0.5, 0, 1)


def _place(
    scan: np.ndarray,
    size: int,
    digit_size: tuple[int, int],
    taken: np.ndarray,
    boxes: list[np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, tuple[int, int], np.ndarray]:
    """Find a size and a place where a digit touches no other: its ink (h, w), (top, left) and the box of its mask."""
    for _ in range(1000):
        ink = _enlarge(scan, rng.uniform(*digit_size))
        height, width = ink.shape
        top, left = rng.integers(0, size - height + 1), rng.integers(0, size - width + 1)
        mask = ink > INK_THRESHOLD
        box = _tight_box(mask) + np.array([left, top, left, top])
        free = not (mask & taken[top : top + height, left : left + width]).any()
        if free and all(_overlap(box, other) <= 0.25 for other in boxes):
            return ink, (top, left), box
    raise ValueError(
        f'no place for digit {len(boxes) + 1} of {digit_size[0]} to {digit_size[1]} px in an image of {size} px; '
        'compose larger images, fewer digits or smaller ones'
    )


def _ink_colour(paper: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(3,) a random colour at least 90 of 255 darker than ``paper``, (3,); black where there is none.

    Ink of either sign, lighter or darker, would keep the small models of the demo from learning in minutes.
    """
    for _ in range(1000):  # the paper is light: three draws on average
        colour = rng.uniform(0, 255, 3)
        if (paper - colour) @ LUMA >= 90:
            return colour
    return np.zeros(3)  # paper this dark holds the ink of another digit


def _tight_box(mask: np.ndarray) -> np.ndarray:
    """(4,) int64 x1, y1, x2, y2 around the true pixels of (h, w), ends excluded."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Area of the intersection over that of the smaller box."""
    sides = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    return sides.prod() / min((a[2:] - a[:2]).prod(), (b[2:] - b[:2]).prod())
