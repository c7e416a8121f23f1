"""Token labels: a teacher's classes for each part of an image, from files beside the images."""

import io
import pickle
from pathlib import Path

import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_random_params
from mmengine import fileio
from mmpretrain.datasets.transforms import RandomResizedCrop

from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS

HOW_TO_GET = (
    'label_root holds CLASS_FOLDER/IMAGE_NAME.pt for each image; README.md of https://github.com/zihangJiang/'
    'TokenLabeling has labels of ImageNet-1k to download, and its generate_label.py makes them with any model of timm'
)


@TRANSFORMS.register_module()
class LoadTokenLabel(BaseTransform):
    """Load the label map of an image, as LV-ViT's authors publish them.

    Args:
        label_root: folder with ``CLASS_FOLDER/IMAGE_NAME.pt`` for each ``CLASS_FOLDER/IMAGE_NAME.JPEG``.

    Reads ``img_path``; adds ``token_label``, (2, k, h, w) in half precision: the scores, before the softmax, of the k
    best classes in each of h x w parts of the whole image, and these classes.

    Raises:
        UserError: if there is no label of an image, or the file holds something else.
    """

    def __init__(self, label_root: str) -> None:
        self.label_root = label_root

    def transform(self, results: dict) -> dict:
        image = Path(results['img_path'])
        path = fileio.join_path(self.label_root, image.parent.name, f'{image.stem}.pt')
        try:
            data = fileio.get(path)
        except FileNotFoundError as error:
            raise UserError(f"image '{image}' has no token label '{path}'; {HOW_TO_GET}") from error
        try:
            label = torch.load(io.BytesIO(data), map_location='cpu', weights_only=True)
        except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
            raise UserError(f"token label '{path}' is cut off or not what torch.save writes; {HOW_TO_GET}") from error
        if not isinstance(label, torch.Tensor) or label.dim() != 4 or len(label) != 2:
            what = tuple(label.shape) if isinstance(label, torch.Tensor) else type(label).__name__
            raise UserError(
                f"token label '{path}' holds {what}, not a tensor (2, k, h, w) of scores and classes; {HOW_TO_GET}"
            )
        results['token_label'] = label
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(label_root={self.label_root!r})'


@TRANSFORMS.register_module()
class BoxedRandomResizedCrop(RandomResizedCrop):
    """mmpretrain's RandomResizedCrop, which also tells where it has cut. Arguments as there.

    Adds ``crop_box``, (4,): left, top, right and bottom as parts of the image's width and height.
    """

    def transform(self, results: dict) -> dict:
        height, width = results['img'].shape[:2]
        with cache_random_params(self):
            top, left, rows, columns = self.rand_crop_params(results['img'])
            results = super().transform(results)
        box = torch.tensor([left, top, left + columns, top + rows])
        results['crop_box'] = box / torch.tensor([width, height, width, height])
        return results
