"""A second image of the same scene, as thermal or depth beside colour, or a later day beside an earlier one."""

import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile

from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS


@TRANSFORMS.register_module()
class LoadPairedImage(BaseTransform):
    """Load the second image and lay its channels behind those of the first.

    What follows in the pipeline crops, flips and resizes both alike, since they are one array; what shall touch the
    first image only, as a photometric distortion, stands before this transform. The model takes ``in_channels=6``, or
    4 with ``color_type='grayscale'``.

    Colour images become RGB, which the weights of stems expect: the libraries' preprocessors turn BGR round in images
    of three channels only. Nor do they normalise more than three; the transform ``Normalize`` with ``to_rgb=False`` and
    a value of ``mean`` and ``std`` for each channel does it, RGB of the first image first.

    Args:
        replace: what to replace in the path of the first image, such as ``{'/rgb/': '/thermal/', '.jpg': '.png'}``.
        color_type: 'color', 'grayscale' or 'unchanged', as for ``LoadImageFromFile``.
        imdecode_backend: likewise; 'tifffile' reads what OpenCV does not.
        backend_args: of mmengine's file backend.

    Reads ``img`` (H, W, C) and ``img_path``; changes ``img`` to (H, W, C + C'), in the wider of the two dtypes; adds
    ``paired_img_path``.

    Raises:
        UserError: if nothing in a path is replaced, there is no second image, or the two differ in height or width.
    """

    def __init__(
        self,
        replace: dict[str, str],
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        backend_args: dict | None = None,
    ) -> None:
        self.replace = replace
        self.load = LoadImageFromFile(
            color_type=color_type, imdecode_backend=imdecode_backend, backend_args=backend_args
        )

    def transform(self, results: dict) -> dict:
        path = other = results['img_path']
        for found, by in self.replace.items():
            other = other.replace(found, by)
        if other == path:
            raise UserError(
                f"image '{path}' has no second one: replace={self.replace} changes nothing in its path; name there "
                'what differs between the paths of the two'
            )
        try:
            first, second = results['img'], self.load(dict(img_path=other))['img']
        except FileNotFoundError as error:
            raise UserError(
                f"image '{path}' has no second one, '{other}' does not exist; put it there, or correct "
                f'replace={self.replace}'
            ) from error
        if first.shape[:2] != second.shape[:2]:
            raise UserError(
                f"images '{path}' and '{other}' differ in height and width, {first.shape[:2]} and {second.shape[:2]}: "
                'bring the files to one size first'
            )
        results['img'] = np.concatenate([_rgb(first), _rgb(second)], axis=2)
        results['paired_img_path'] = other
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(replace={self.replace}, load={self.load})'


def _rgb(image: np.ndarray) -> np.ndarray:
    """(H, W) to (H, W, 1), BGR to RGB, and others as they are."""
    image = np.atleast_3d(image)
    return image[..., ::-1] if image.shape[2] == 3 else image
