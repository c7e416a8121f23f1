"""Two images of a scene, and images of many bands, from the files to the loss."""

import json

import numpy as np
import pytest
import tifffile
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, DefaultScope
from PIL import Image

from mmmamba.engine.config import load_config
from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS


def _noise(path, *shape, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def pair(tmp_path):
    """(directory, colour (12, 20, 3) as RGB, thermal (12, 20))."""
    return tmp_path, _noise(tmp_path / 'rgb/a.png', 12, 20, 3), _noise(tmp_path / 'thermal/a.png', 12, 20, seed=1)


def _load(path, *, before=(), after=(), **options):
    replace = {'/rgb/': '/thermal/'}
    second = dict(type='mmmamba.LoadPairedImage', **dict(dict(replace=replace, color_type='grayscale'), **options))
    results = dict(img_path=str(path))
    for step in ({'type': 'LoadImageFromFile'}, *before, second, *after):
        results = TRANSFORMS.build(step)(results)
    return results


def test_the_second_lies_behind_the_first_as_rgb(pair):
    folder, colour, thermal = pair
    results = _load(folder / 'rgb/a.png')
    np.testing.assert_array_equal(results['img'], np.dstack([colour, thermal]))
    assert results['paired_img_path'] == str(folder / 'thermal/a.png')
    assert results['img_path'] == str(folder / 'rgb/a.png')
    both = _load(folder / 'rgb/a.png', color_type='color')['img']
    np.testing.assert_array_equal(both, np.dstack([colour, thermal, thermal, thermal]))


def test_what_follows_moves_both_alike_and_what_precedes_touches_the_first(pair):
    folder, colour, thermal = pair
    flip = dict(type='RandomFlip', prob=1.0)
    results = _load(folder / 'rgb/a.png', after=[flip, dict(type='Resize', scale=(40, 24))])
    assert results['img'].shape == (24, 40, 4)
    flipped = _load(folder / 'rgb/a.png', after=[flip])['img']
    np.testing.assert_array_equal(flipped, np.dstack([colour, thermal])[:, ::-1])
    grey = _load(folder / 'rgb/a.png', before=[dict(type='RandomGrayscale', prob=1.0, keep_channels=True)])['img']
    np.testing.assert_array_equal(grey[..., 3], thermal)
    assert not np.array_equal(grey[..., :3], colour)


def test_bands_of_two_dtypes_meet_in_the_wider(pair):
    folder, colour, _ = pair
    depth = np.arange(240, dtype=np.uint16).reshape(12, 20) * 250
    tifffile.imwrite(folder / 'rgb/a.tif', depth)
    options = dict(replace={'.png': '.tif'}, color_type='unchanged', imdecode_backend='tifffile')
    found = _load(folder / 'rgb/a.png', **options)['img']
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, np.dstack([colour, depth]))


def test_a_second_image_that_does_not_fit_is_named(pair):
    folder, *_ = pair
    with pytest.raises(UserError, match=r"rgb/a.png' has no second one: replace=\{'x/': 'y/'\} changes nothing"):
        _load(folder / 'rgb/a.png', replace={'x/': 'y/'})
    with pytest.raises(UserError, match=r'depth/a\.png'):
        _load(folder / 'rgb/a.png', replace={'/rgb/': '/depth/'})
    _noise(folder / 'thermal/a.png', 12, 19)
    with pytest.raises(UserError, match=r"thermal/a.png' differ in height and width, \(12, 20\) and \(12, 19\)"):
        _load(folder / 'rgb/a.png')


def _train_step(cfg: Config, data: dict) -> None:
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset, model = DATASETS.build(data), MODELS.build(cfg.model)
    batch = model.data_preprocessor(pseudo_collate([dataset[i] for i in range(len(dataset))]), True)
    losses = model(**batch, mode='loss')
    total, _ = model.parse_losses(losses)
    total.backward()
    stem = next(model.backbone.parameters())
    assert stem.shape[1] == batch['inputs'].shape[1] == cfg.model.backbone.in_channels
    assert total.isfinite()
    assert (stem.grad.abs().amax(dim=(0, 2, 3)) > 0).all()


def test_a_segmentor_learns_from_images_of_five_bands(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / 'bands').mkdir()
    (tmp_path / 'maps').mkdir()
    for i in range(2):
        tifffile.imwrite(tmp_path / f'bands/{i}.tif', rng.random((64, 48, 5), dtype=np.float32))
        Image.fromarray(rng.integers(0, 11, (64, 48), dtype=np.uint8)).save(tmp_path / f'maps/{i}.png')
    cfg = load_config('configs/demo/upernet_vmamba-nano_handwriting.py')
    cfg.model.backbone.in_channels = 5
    cfg.model.data_preprocessor.update(mean=None, std=None, bgr_to_rgb=False, size=(64, 64))
    loading = dict(type='LoadImageFromFile', imdecode_backend='tifffile', color_type='unchanged')
    normalize = dict(type='Normalize', mean=[0.5] * 5, std=[0.3] * 5, to_rgb=False)
    pipeline = [loading, dict(type='LoadAnnotations'), normalize, dict(type='PackSegInputs')]
    prefix = dict(img_path='bands', seg_map_path='maps')
    data = dict(
        type='BaseSegDataset', data_root=str(tmp_path), data_prefix=prefix, img_suffix='.tif', pipeline=pipeline
    )
    _train_step(cfg, data)


def test_a_detector_learns_from_pairs(tmp_path):
    for i in range(2):
        _noise(tmp_path / f'rgb/{i}.png', 64, 48, 3)
        _noise(tmp_path / f'thermal/{i}.png', 64, 48)
    box = dict(bbox=[8, 8, 20, 30], segmentation=[[8, 8, 28, 8, 28, 38]], area=300, iscrowd=0, category_id=1)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', height=64, width=48) for i in range(2)],
        annotations=[dict(box, id=i + 1, image_id=i) for i in range(2)],
        categories=[dict(id=1, name='thing')],
    )
    (tmp_path / 'instances.json').write_text(json.dumps(content))
    cfg = load_config('configs/demo/mask-rcnn_vmamba-nano_handwriting.py')
    cfg.model.backbone.in_channels = 4
    cfg.model.data_preprocessor.update(mean=None, std=None, bgr_to_rgb=False)
    pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='PhotoMetricDistortion'),
        dict(type='mmmamba.LoadPairedImage', replace={'/rgb/': '/thermal/'}, color_type='grayscale'),
        dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
        dict(type='RandomFlip', prob=0.5),
        dict(type='Normalize', mean=[120, 120, 120, 100], std=[60, 60, 60, 50], to_rgb=False),
        dict(type='PackDetInputs'),
    ]
    files = dict(data_root=str(tmp_path), ann_file='instances.json', data_prefix=dict(img='rgb/'))
    _train_step(cfg, dict(type='CocoDataset', metainfo=dict(classes=('thing',)), pipeline=pipeline, **files))
