"""Label maps from the files to the sample."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS


@pytest.fixture
def image(tmp_path):
    """An image (40, 60) whose red is the column and green the row."""
    rows, columns = np.indices((40, 60), dtype=np.uint8)
    path = tmp_path / 'train/n01440764/n01440764_1.PNG'
    path.parent.mkdir(parents=True)
    Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], 2)).save(path)
    return path


def save_label(root, label):
    path = root / 'labels/n01440764/n01440764_1.pt'
    path.parent.mkdir(parents=True)
    torch.save(label, path)
    return root / 'labels'


def load(image, label_root):
    return TRANSFORMS.build(dict(type='LoadTokenLabel', label_root=str(label_root)))(dict(img_path=str(image)))


def test_the_label_of_an_image_is_loaded(image, tmp_path):
    label = torch.arange(24.0).reshape(2, 3, 2, 2).half()
    assert torch.equal(load(image, save_label(tmp_path, label))['token_label'], label)


def test_a_missing_label_is_named_and_where_there_are_some(image, tmp_path):
    with pytest.raises(UserError, match=r'n01440764_1\.PNG.*no token label.*n01440764_1\.pt.*TokenLabeling'):
        load(image, tmp_path / 'labels')


@pytest.mark.parametrize(
    ('label', 'found'), [(torch.zeros(5, 2, 2), r'\(5, 2, 2\)'), ({'a': torch.zeros(1)}, 'dict')], ids=['shape', 'dict']
)
def test_another_content_is_named(image, tmp_path, label, found):
    with pytest.raises(UserError, match=rf'n01440764_1\.pt.* holds {found}, not a tensor \(2, k, h, w\)'):
        load(image, save_label(tmp_path, label))


def test_a_damaged_label_is_named(image, tmp_path):
    root = save_label(tmp_path, torch.zeros(2, 5, 3, 3))
    file = next(root.rglob('*.pt'))
    for content in (b'', b'<html>404</html>', file.read_bytes()[:200]):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r'n01440764_1\.pt. is cut off or not what .*TokenLabeling'):
            load(image, root)


@pytest.mark.parametrize('seed', range(5))
def test_the_box_is_what_was_cut(image, seed):
    np.random.seed(seed)
    results = TRANSFORMS.build(dict(type='LoadImageFromFile'))(dict(img_path=str(image)))
    crop = dict(type='BoxedRandomResizedCrop', scale=20, interpolation='nearest')
    results = TRANSFORMS.build(crop)(results)
    cut = results['img']  # BGR
    left, top, right, bottom = (results['crop_box'] * torch.tensor([60, 40, 60, 40])).tolist()
    assert cut.shape == (20, 20, 3)
    assert cut[..., 2].min() == pytest.approx(left)
    assert cut[..., 1].min() == pytest.approx(top)
    assert right - left >= np.ptp(cut[..., 2]) + 1 > right - left - (right - left) / 20
    assert bottom - top >= np.ptp(cut[..., 1]) + 1 > bottom - top - (bottom - top) / 20


def test_the_crop_is_that_of_mmpretrain(image):
    init_default_scope('mmpretrain')
    cuts = []
    for kind in ('RandomResizedCrop', 'mmmamba.BoxedRandomResizedCrop'):
        np.random.seed(3)
        pipeline = [dict(type='LoadImageFromFile'), dict(type=kind, scale=16, backend='pillow')]
        cuts.append(Compose([TRANSFORMS.build(step) for step in pipeline])(dict(img_path=str(image)))['img'])
    assert np.array_equal(*cuts)


def test_map_and_box_reach_the_sample(image, tmp_path):
    init_default_scope('mmpretrain')
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='mmmamba.LoadTokenLabel', label_root=str(save_label(tmp_path, torch.ones(2, 5, 3, 3).half()))),
        dict(type='mmmamba.BoxedRandomResizedCrop', scale=16),
        dict(type='RandomFlip', prob=1.0, direction='horizontal'),
        dict(type='PackInputs', algorithm_keys=('token_label', 'crop_box')),
    ]
    packed = Compose([TRANSFORMS.build(step) for step in pipeline])(dict(img_path=str(image), gt_label=1))
    sample = packed['data_samples']
    assert sample.token_label.shape == (2, 5, 3, 3)
    assert sample.crop_box.shape == (4,)
    assert sample.flip_direction == 'horizontal'
