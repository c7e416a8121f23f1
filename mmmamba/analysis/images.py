"""Image files as a model's preprocessor gives them to its backbone."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmmamba.errors import UserError


def read_image(path: str | Path, size: tuple[int, int] | None = None) -> np.ndarray:
    """Read an image: (H, W, 3) uint8, BGR.

    Args:
        path: of the file.
        size: height and width to bring it to; None leaves it as it is.

    Raises:
        UserError: if it is not there or cannot be read.
    """
    content = Path(path).read_bytes() if Path(path).is_file() else None
    if content is None:
        raise UserError(f'image {str(path)!r} does not exist')
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise UserError(f'image {str(path)!r} cannot be read; it is damaged or of another format')
    return image if size is None else cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)


def preprocess(model: nn.Module, images: Sequence[np.ndarray]) -> Tensor:
    """Normalise and pad images of one size.

    Args:
        model: a classifier, segmentor or detector, whose preprocessor does it.
        images: (H, W, 3) uint8, BGR.

    Returns:
        (B, 3, H', W') on the model's device.
    """
    inputs = [torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))) for image in images]
    return model.data_preprocessor(dict(inputs=inputs, data_samples=None), False)['inputs']
