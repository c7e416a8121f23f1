"""COCO, ADE20K and ImageNet in miniature: a few small images, in the layout and with the classes of the original.

``python tests/configs/tiny_data.py FOLDER`` writes ``FOLDER/coco``, ``FOLDER/ade/ADEChallengeData2016`` and
``FOLDER/imagenet``, where the configs look for their data if FOLDER is ``data``.
"""

import json
import sys
from pathlib import Path

import mmmamba  # noqa: F401 - before mmdet: it readies mmcv's ops

# isort: split
import numpy as np
import torch
from mmdet.datasets import CocoDataset
from PIL import Image, ImageDraw

HEIGHT, WIDTH = 96, 128
GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # COCO numbers its 80 classes 1 to 90 and leaves these out
COCO_IDS = [i for i in range(1, 91) if i not in GAPS]
WNIDS = {'n01440764': 0, 'n01443537': 1, 'n02099601': 207, 'n03063599': 504}  # tench, goldfish, retriever, coffee mug


def make_coco(root: Path, train: int = 4, val: int = 2) -> Path:
    """COCO 2017: images with one to three triangles, each an instance with box and polygon, and all 80 classes.

    Args:
        root: folder to make, ``data/coco`` in the configs.
        train: number of training images.
        val: number of validation images.

    Returns:
        ``root``.
    """
    categories = [dict(id=i, name=name) for i, name in zip(COCO_IDS, CocoDataset.METAINFO['classes'], strict=True)]
    for split, count in (('train', train), ('val', val)):
        rng = np.random.default_rng(len(split))
        images, annotations = [], []
        for image_id in range(1, count + 1):
            image, polygons = _scene(rng)
            name = f'{image_id:012d}.jpg'
            _save(image, root / f'{split}2017' / name)
            images.append(dict(id=image_id, file_name=name, height=HEIGHT, width=WIDTH))
            for polygon in polygons:
                (left, top), (right, bottom) = polygon.min(0).tolist(), polygon.max(0).tolist()
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=image_id,
                        category_id=int(rng.choice(COCO_IDS)),
                        bbox=[left, top, right - left, bottom - top],
                        area=(right - left) * (bottom - top) / 2,
                        segmentation=[polygon.ravel().tolist()],
                        iscrowd=0,
                    )
                )
        path = root / 'annotations' / f'instances_{split}2017.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=categories)))
    return root


def make_ade20k(root: Path, train: int = 4, val: int = 2) -> Path:
    """ADE20K: images and maps of 0 (unlabelled) and 1 to 150, three classes and a strip of zeros in each.

    Args:
        root: folder to make, ``data/ade/ADEChallengeData2016`` in the configs.
        train: number of training images.
        val: number of validation images.

    Returns:
        ``root``.
    """
    for split, count in (('training', train), ('validation', val)):
        rng = np.random.default_rng(len(split))
        for i in range(1, count + 1):
            image, polygons = _scene(rng)
            classes = rng.choice(150, size=1 + len(polygons), replace=False) + 1
            labels = Image.new('L', image.size, int(classes[0]))
            draw = ImageDraw.Draw(labels)
            for polygon, label in zip(polygons, classes[1:], strict=True):
                draw.polygon([*map(tuple, polygon.tolist())], fill=int(label))
            draw.rectangle((0, 0, WIDTH, 4), fill=0)
            name = f'ADE_{split[:-3]}_{i:08d}'.replace('validat', 'val')
            _save(image, root / 'images' / split / f'{name}.jpg')
            _save(labels, root / 'annotations' / split / f'{name}.png')
    return root


def make_imagenet(root: Path, train: int = 8, val: int = 4) -> Path:
    """ImageNet-1k: four of its thousand class folders, the list files that let the others be absent, and token labels.

    Args:
        root: folder to make, ``data/imagenet`` in the configs.
        train: number of training images.
        val: number of validation images.

    Returns:
        ``root``.
    """
    for split, count in (('train', train), ('val', val)):
        rng = np.random.default_rng(len(split))
        lines = []
        for i in range(count):
            wnid, label = list(WNIDS.items())[i % len(WNIDS)]
            name = f'{wnid}/{wnid}_{i}.JPEG'
            _save(_scene(rng)[0], root / split / name)
            lines.append(f'{name} {label}')
            if split == 'train':
                _save_token_label(rng, root / 'token_labels' / f'{wnid}/{wnid}_{i}.pt')
        path = root / 'meta' / f'{split}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join(lines))
    return root


def _scene(rng: np.random.Generator) -> tuple[Image.Image, list[np.ndarray]]:
    """Noise and one to three triangles on it, at least 33 pixels long and wide; polygons are (3, 2), x first."""
    image = Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    draw = ImageDraw.Draw(image)
    polygons = []
    for _ in range(rng.integers(1, 4)):
        size = rng.integers(33, 64, 2)
        corner = rng.integers(0, (WIDTH, HEIGHT) - size)
        polygon = corner + size * np.array([(0, 0), (1, 0), (0.5, 1)])
        draw.polygon([*map(tuple, polygon.tolist())], fill=tuple(rng.integers(0, 256, 3).tolist()))
        polygons.append(polygon)
    return image, polygons


def _save_token_label(rng: np.random.Generator, path: Path) -> None:
    """Scores of five of the thousand classes, and these, in 3x3 parts of an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    classes = np.stack([rng.choice(1000, 5, replace=False) for _ in range(9)], 1).reshape(5, 3, 3)
    torch.save(torch.from_numpy(np.stack([rng.uniform(5, 15, (5, 3, 3)), classes])).half(), path)


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


if __name__ == '__main__':
    folder = Path(sys.argv[1])
    make_coco(folder / 'coco')
    make_ade20k(folder / 'ade' / 'ADEChallengeData2016')
    make_imagenet(folder / 'imagenet')
