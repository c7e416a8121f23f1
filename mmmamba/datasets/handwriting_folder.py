"""The handwriting data as files, in the layouts that the three libraries' users know: COCO, ADE20K, ImageNet.

* ``coco/annotations/instances_{train,val}.json``, ``coco/{train,val}/000000.png``
* ``ade20k/{images,annotations}/{training,validation}/000000.png``; the images are hard links to those of ``coco/``
* ``imagenet/{train,val}/{0..9}/0000.png``
* ``README.md``, the data card, and ``complete.json``, the marker, which is written last
"""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from mmmamba.datasets.handwriting import Scans, Scene, compose_digit, compose_scene, load_scans, split_scans

VERSION = 2  # raise it with any change of the generator that changes a byte of what it writes
MARKER = 'complete.json'
SOURCE = 'https://doi.org/10.24432/C50P49'
SPLITS = {'train': 'training', 'val': 'validation'}  # name in COCO and ImageNet, name in ADE20K


@dataclass(frozen=True)
class Settings:
    """What the data depend on, besides the generator itself.

    Attributes:
        train_scenes: number of scenes to train on.
        val_scenes: number of scenes to evaluate on.
        val_scans: how many of the 1,797 scans only val may show.
        size: height and width of a scene in pixels.
        seed: of the split, the scenes and the single digits.
    """

    train_scenes: int = 1600
    val_scenes: int = 200
    val_scans: int = 400
    size: int = 128
    seed: int = 0


def prepare_handwriting(
    root: str | Path, settings: Settings | None = None, *, report: Callable[[str], None] = lambda line: None
) -> bool:
    """Write the data to ``root`` unless they are there, complete and of these settings and this generator.

    They are written beside ``root`` and renamed, so an interrupted call leaves nothing that passes for complete.

    Args:
        root: the folder, made if it does not exist; data of another version or other settings are replaced.
        settings: what to write; None is the demo's.
        report: called with a line of progress now and then.

    Returns:
        Whether anything was written.

    Raises:
        FileExistsError: if ``root`` holds something that this function did not write.
    """
    root, settings = Path(root), settings or Settings()
    if is_complete(root, settings):
        return False
    if root.exists() and not (root / MARKER).exists() and any(root.iterdir()):
        raise FileExistsError(
            f'{root} holds files but no {MARKER}, so it is not the handwriting data; move it or name another folder'
        )
    partial = root.with_name(f'{root.name}.partial')
    shutil.rmtree(partial, ignore_errors=True)  # of an interrupted call
    partial.mkdir(parents=True)
    train, val = split_scans(load_scans(), settings.val_scans, settings.seed)
    report(f'{len(train)} scans for train, {len(val)} others for val')
    for number, (split, scans) in enumerate({'train': train, 'val': val}.items()):
        count = settings.train_scenes if split == 'train' else settings.val_scenes
        # A generator per scene and digit: none depends on how many there are before it.
        seeds = [settings.seed, 1 + number]
        _write_scenes(partial, split, scans, count, settings.size, seeds, report)
        _write_digits(partial / 'imagenet' / split, scans, seeds)
        report(f'{split}: {len(scans)} single digits')
    (partial / 'README.md').write_text(data_card(settings))
    marker = {'version': VERSION, 'settings': asdict(settings), 'files': _count_files(partial)}
    (partial / MARKER).write_text(json.dumps(marker, indent=1))
    shutil.rmtree(root, ignore_errors=True)
    partial.rename(root)
    return True


def is_complete(root: str | Path, settings: Settings | None = None) -> bool:
    """Tell whether ``root`` holds the data of these settings and of this version of the generator, no file missing.

    Args:
        root: the folder.
        settings: those that the data should have; None is the demo's.

    Returns:
        Whether `prepare_handwriting` would have nothing to do.
    """
    root = Path(root)
    try:
        marker = json.loads((root / MARKER).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return False
    expected = {'version': VERSION, 'settings': asdict(settings or Settings()), 'files': _count_files(root) - 1}
    return marker == expected


def data_card(settings: Settings) -> str:
    """Describe the data: source, licence, how they are made, what is where.

    Args:
        settings: those of the data.

    Returns:
        The text in Markdown.
    """
    scenes = f'{settings.train_scenes:,} | {settings.val_scenes:,}'
    scans = f'{1797 - settings.val_scans:,} | {settings.val_scans:,}'
    return f"""# Handwriting: scenes of scanned digits

| | train | val |
|---|---|---|
| scans, each in one split only | {scans} |
| `coco/`, `ade20k/`: scenes of {settings.size}x{settings.size} px | {scenes} |
| `imagenet/`: single digits, 32x32 px, one a scan | {scans} |

**Source.** The 1,797 digits that scikit-learn ships (`sklearn.datasets.load_digits`): scans of handwriting, 8 x 8 in 17
grey levels, the test part of E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine
Learning Repository, 1998, {SOURCE}. The handwriting is real; the scenes are composed.

**Licence.** The scans: CC BY 4.0, from UCI; attribute the source above. scikit-learn, which brings them: BSD 3-Clause.
The scenes are adapted from the scans and may be used under CC BY 4.0 as well.

**How a scene is made.** (`mmmamba/datasets/handwriting.py`, version {VERSION}, seed {settings.seed})
The scans are divided at random before anything is composed. For a scene, 3 to 6 scans of its split are drawn. Their
eight rows are enlarged to 20 to 56 px by cubic interpolation and placed at random: the strokes of two digits never
touch, their boxes overlap by a quarter of the smaller at most, and no digit is cut off. The colour of the ink is random
and at least 90 of 255 darker than the paper beneath it. The paper is light, with large blobs of random colours, and
grain of random strength and size. A digit's mask is where its enlarged scan is above one half of full ink; the box is
tight around the mask. Nothing is rotated or mirrored. A single digit is dark ink on light paper, enlarged to 21 to 27
px, of random contrast and place.

**Layouts.** Digit `d` is category `d + 1`, named `'d'`, in COCO (masks as compressed RLE), has the value `d + 1` in the
maps of ADE20K, where 0 is background and counts as a class, and is the folder `d` in ImageNet's.
`scan_id` of an annotation, and the name of a single digit's file, is the scan's position in scikit-learn's set.

**Limits.** Train and val share no scan, but they share writers: the set does not say who wrote what. The digits are
drawn at random, so classes are balanced only roughly. What a model learns here says nothing about other handwriting.
"""


def _write_scenes(
    root: Path, split: str, scans: Scans, count: int, size: int, seeds: list[int], report: Callable[[str], None]
) -> None:
    images = _folder(root / 'coco' / split)
    linked = _folder(root / 'ade20k' / 'images' / SPLITS[split])
    maps = _folder(root / 'ade20k' / 'annotations' / SPLITS[split])
    content = {
        'info': {'description': f'Handwriting, {split}', 'version': str(VERSION), 'url': SOURCE},
        'licenses': [{'id': 1, 'name': 'CC BY 4.0', 'url': 'https://creativecommons.org/licenses/by/4.0/'}],
        'categories': [{'id': digit + 1, 'name': str(digit), 'supercategory': 'digit'} for digit in range(10)],
        'images': [],
        'annotations': [],
    }
    for i in range(count):
        scene = compose_scene(scans, np.random.default_rng([*seeds, 0, i]), size=size)
        name = f'{i:06d}.png'
        _write_png(images / name, scene.image)
        _link(images / name, linked / name)
        _write_png(maps / name, scene.label_map())
        content['images'].append({'id': i + 1, 'file_name': name, 'height': size, 'width': size, 'license': 1})
        content['annotations'] += _annotations(scene, i + 1, len(content['annotations']) + 1)
        if (i + 1) % 400 == 0 or i + 1 == count:
            report(f'{split}: {i + 1} of {count} scenes')
    path = _folder(root / 'coco' / 'annotations') / f'instances_{split}.json'
    path.write_text(json.dumps(content))


def _annotations(scene: Scene, image_id: int, first_id: int) -> list[dict]:
    annotations = []
    for i, (mask, (x1, y1, x2, y2)) in enumerate(zip(scene.masks, scene.boxes().tolist(), strict=True)):
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        annotations.append(
            {
                'id': first_id + i,
                'image_id': image_id,
                'category_id': int(scene.labels[i]) + 1,
                'bbox': [x1, y1, x2 - x1, y2 - y1],
                'area': int(mask.sum()),
                'segmentation': {'size': list(mask.shape), 'counts': rle['counts'].decode()},
                'iscrowd': 0,
                'scan_id': int(scene.scan_ids[i]),
            }
        )
    return annotations


def _write_digits(folder: Path, scans: Scans, seeds: list[int]) -> None:
    for digit in range(10):
        _folder(folder / str(digit))  # also one that is empty: the folders are the classes
    for image, label, scan_id in zip(scans.images, scans.labels, scans.ids, strict=True):
        picture = compose_digit(image, np.random.default_rng([*seeds, 1, scan_id]))
        _write_png(folder / str(label) / f'{scan_id:04d}.png', picture)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def _write_png(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())


def _link(path: Path, to: Path) -> None:
    try:
        os.link(path, to)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, to)


def _count_files(root: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(root))
