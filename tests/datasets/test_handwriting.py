"""The embedded data: scenes as arrays, and the folder in the layouts of COCO, ADE20K and ImageNet."""

import json
import shutil

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from mmmamba.datasets import (
    Settings,
    compose_digit,
    compose_scene,
    data_card,
    handwriting_folder,
    is_complete,
    load_scans,
    prepare_handwriting,
    split_scans,
)

TINY = Settings(train_scenes=12, val_scenes=5, val_scans=60)  # of 240 scans: see few_scans


@pytest.fixture(scope='module')
def scans():
    return load_scans()


@pytest.fixture(scope='module')
def scenes(scans):
    return [compose_scene(scans, np.random.default_rng([1, i])) for i in range(40)]


@pytest.fixture(scope='module', autouse=True)
def few_scans(scans):
    """Single digits are one a scan, and writing 1,797 files takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handwriting_folder, 'load_scans', lambda: scans.take(np.arange(240)))
        yield


@pytest.fixture(scope='module')
def root(tmp_path_factory, few_scans):
    root = tmp_path_factory.mktemp('data') / 'handwriting'
    assert prepare_handwriting(root, TINY)
    return root


def content(root):
    return {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob('*')) if path.is_file()}


# -- scenes ----------------------------------------------------------------------------------------------------------


def test_train_and_val_share_no_scan(scans):
    train, val = split_scans(scans, 400, seed=0)
    assert (len(train), len(val)) == (1397, 400)
    assert sorted([*train.ids, *val.ids]) == list(range(1797))


@pytest.mark.parametrize('val_count', [0, 1797])
def test_a_split_without_scans_is_refused(scans, val_count):
    with pytest.raises(ValueError, match=f'val_count {val_count} leaves train or val without scans'):
        split_scans(scans, val_count)


def test_a_scene_depends_on_its_seed_only(scans):
    first, again, other = (compose_scene(scans, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.image, other.image)


def test_a_scene_has_three_to_six_digits_of_20_to_56_px(scenes):
    assert {len(scene.labels) for scene in scenes} == {3, 4, 5, 6}
    heights = np.concatenate([scene.boxes()[:, 3] - scene.boxes()[:, 1] for scene in scenes])
    assert heights.min() >= 17  # faint first and last rows of a scan are below the threshold of the mask
    assert heights.max() <= 60


def test_labels_are_those_of_the_scans(scans, scenes):
    for scene in scenes:
        assert np.array_equal(scene.labels, scans.labels[scene.scan_ids])


def test_strokes_do_not_touch(scenes):
    for scene in scenes:
        grown = [cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) for mask in scene.masks]
        owners = np.sum(grown, axis=0)[scene.masks.any(axis=0)]
        assert (owners == 1).all()


def test_ink_is_darker_than_the_paper_around_it(scenes):
    for scene in scenes:
        grey = cv2.cvtColor(scene.image, cv2.COLOR_BGR2GRAY).astype(float)
        for mask in scene.masks:
            near = cv2.dilate(mask.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
            around = near & ~scene.masks.any(axis=0)
            assert grey[mask].mean() < grey[around].mean() - 40


def test_a_scene_without_room_is_refused(scans):
    with pytest.raises(ValueError, match='no place for digit .* in an image of 64 px'):
        compose_scene(scans, np.random.default_rng(0), size=64, digits=(9, 9), digit_size=(40, 50))


def test_a_single_digit_is_dark_on_light(scans):
    picture = compose_digit(scans.images[0], np.random.default_rng(0))
    assert picture.shape == (32, 32)
    assert picture.dtype == np.uint8
    assert picture.min() < 106
    assert np.median(picture) >= 195


# -- folder ----------------------------------------------------------------------------------------------------------


def test_the_same_settings_give_the_same_bytes(root, tmp_path):
    prepare_handwriting(tmp_path / 'again', TINY)
    assert content(root) == content(tmp_path / 'again')


def test_more_scenes_leave_the_first_ones_as_they_are(root, tmp_path):
    prepare_handwriting(tmp_path / 'more', Settings(train_scenes=13, val_scenes=5, val_scans=60))
    for name in ('coco/train/000011.png', 'ade20k/annotations/training/000011.png', 'coco/val/000004.png'):
        assert (root / name).read_bytes() == (tmp_path / 'more' / name).read_bytes()


def test_annotated_scans_of_train_and_val_are_disjoint(root):
    used = [
        {annotation['scan_id'] for annotation in json.loads(path.read_text())['annotations']}
        for path in sorted((root / 'coco' / 'annotations').iterdir())
    ]
    assert len(used) == 2
    assert used[0].isdisjoint(used[1])


@pytest.mark.parametrize(('split', 'count'), [('train', 12), ('val', 5)])
def test_coco_annotations_are_valid(root, split, count):
    coco = COCO(root / 'coco' / 'annotations' / f'instances_{split}.json')
    assert len(coco.imgs) == count
    assert [coco.cats[i]['name'] for i in range(1, 11)] == list('0123456789')
    for annotation in coco.anns.values():
        mask = coco.annToMask(annotation)
        assert mask.shape == (128, 128)
        assert annotation['area'] == mask.sum() > 0
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        tight = [columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1]
        assert annotation['bbox'] == tight
        assert annotation['category_id'] in coco.cats


@pytest.mark.parametrize(('split', 'folder'), [('train', 'training'), ('val', 'validation')])
def test_label_maps_agree_with_the_instances(root, split, folder):
    coco = COCO(root / 'coco' / 'annotations' / f'instances_{split}.json')
    for image_id, image in coco.imgs.items():
        expected = np.zeros((128, 128), np.uint8)
        for annotation in coco.imgToAnns[image_id]:
            expected[coco.annToMask(annotation) > 0] = annotation['category_id']
        path = root / 'ade20k' / 'annotations' / folder / image['file_name']
        assert np.array_equal(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), expected)


@pytest.mark.parametrize(('split', 'folder'), [('train', 'training'), ('val', 'validation')])
def test_coco_and_ade20k_show_the_same_images(root, split, folder):
    assert content(root / 'coco' / split) == content(root / 'ade20k' / 'images' / folder)


@pytest.mark.parametrize(('split', 'count'), [('train', 180), ('val', 60)])
def test_imagenet_folders_hold_every_scan_of_the_split(root, scans, split, count):
    files = sorted((root / 'imagenet' / split).rglob('*.png'))
    assert len(files) == count
    assert {path.parent.name for path in files} == set('0123456789')
    assert all(scans.labels[int(path.stem)] == int(path.parent.name) for path in files)


def test_the_card_is_with_the_data(root):
    assert (root / 'README.md').read_text() == data_card(TINY)


def test_the_card_in_the_repository_is_of_this_generator(request):
    assert data_card(Settings()) in (request.config.rootpath / 'configs' / 'demo' / 'README.md').read_text()


# -- running again ---------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(root, tmp_path):
    return shutil.copytree(root, tmp_path / 'handwriting')


def test_complete_data_are_not_written_again(copy):
    before = (copy / 'README.md').stat().st_mtime_ns
    assert not prepare_handwriting(copy, TINY)
    assert (copy / 'README.md').stat().st_mtime_ns == before


def test_a_missing_file_is_noticed_and_replaced(copy):
    (copy / 'coco' / 'val' / '000003.png').unlink()
    assert not is_complete(copy, TINY)
    assert prepare_handwriting(copy, TINY)
    assert is_complete(copy, TINY)


@pytest.mark.parametrize('change', [{'version': 0}, {'settings': {}}], ids=str)
def test_data_of_another_generator_or_settings_are_replaced(copy, change):
    marker = json.loads((copy / 'complete.json').read_text())
    (copy / 'complete.json').write_text(json.dumps({**marker, **change}))
    assert prepare_handwriting(copy, TINY)
    assert json.loads((copy / 'complete.json').read_text()) == marker


def test_an_interrupted_run_is_not_taken_for_complete(tmp_path):
    def stop(line):
        if line.startswith('val'):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_handwriting(tmp_path / 'handwriting', TINY, report=stop)
    assert not (tmp_path / 'handwriting').exists()
    assert prepare_handwriting(tmp_path / 'handwriting', TINY)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['handwriting']


def test_a_folder_of_someone_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.tex').write_text('')
    with pytest.raises(FileExistsError, match='so it is not the handwriting data'):
        prepare_handwriting(tmp_path, TINY)
    assert (tmp_path / 'thesis.tex').exists()
