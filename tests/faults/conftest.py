"""Fault injection: each test breaks something that breaks on a cluster. The suite's summary counts them."""

import json
from pathlib import Path
from textwrap import dedent

import pytest
from faulty_configs import CLASSIFIER, DETECTOR, TINY_BACKBONE, noise


@pytest.fixture
def classifier(tmp_path: Path) -> str:
    """Path of a config that trains on eight images in ``images/train/{a,b}``: two epochs of four iterations."""
    for i in range(8):
        noise(tmp_path / 'images/train' / 'ab'[i % 2] / f'{i}.png')
    path = tmp_path / f'{tmp_path.name}.py'  # mmengine's loggers of one name and second are one
    path.write_text(dedent(CLASSIFIER).format(root=str(tmp_path / 'images'), backbone=TINY_BACKBONE))
    return str(path)


@pytest.fixture
def detector(tmp_path: Path):
    """``detector(annotations, height, width)``: a config of two images, the second with these annotations and size."""

    def make(annotations: list[dict], height: int = 40, width: int = 64) -> str:
        sizes = [(40, 64), (height, width)]
        for i, size in enumerate(sizes):
            noise(tmp_path / f'{i}.png', *size)
        square = dict(bbox=[8, 8, 20, 20], segmentation=[[8, 8, 28, 8, 28, 28]], area=200, iscrowd=0)
        found = [dict(square, image_id=0), *(dict(each, image_id=1) for each in annotations)]
        images = [dict(id=i, file_name=f'{i}.png', height=h, width=w) for i, (h, w) in enumerate(sizes)]
        content = dict(
            images=images,
            annotations=[dict(each, id=i + 1, category_id=1) for i, each in enumerate(found)],
            categories=[dict(id=1, name='thing')],
        )
        (tmp_path / 'instances.json').write_text(json.dumps(content))
        path = tmp_path / f'{tmp_path.name}.py'
        path.write_text(dedent(DETECTOR).format(root=str(tmp_path), backbone=TINY_BACKBONE))
        return str(path)

    return make
