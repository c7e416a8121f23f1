"""Data that is broken or odd: named, and survived where training can go on."""

import re

import pytest
from faulty_configs import noise

from mmmamba.checkpoints import load_file
from mmmamba.engine import UserError, evaluate, one_line_errors, train

pytestmark = pytest.mark.usefixtures('no_formatting')
BOX = dict(segmentation=[[4, 4, 5, 4, 5, 5, 4, 5]], area=1, iscrowd=0)
CROWD = dict(bbox=[4, 4, 20, 20], segmentation=dict(counts=[0, 40 * 64], size=[40, 64]), area=400, iscrowd=1)
ODD = {
    'empty annotations': ([], {}),
    'crowd-only annotations': ([CROWD], {}),
    '1x1 box': ([dict(BOX, bbox=[4, 4, 1, 1])], {}),
    'box without area': ([dict(BOX, bbox=[4, 4, 0, 5])], {}),
    '1-pixel-high image': ([], dict(height=1, width=64)),
    'image too thin to resize': ([], dict(height=1, width=4000)),
}


def _log(run) -> str:
    return next(run.glob('*/*.log')).read_text()


@pytest.mark.parametrize('odd', ODD)
def test_a_detector_trains_past(odd, detector, tmp_path):
    annotations, size = ODD[odd]
    train(detector(annotations, **size), work_dir=str(tmp_path / 'run'))
    weights = load_file(tmp_path / 'run/epoch_1.pth')['state_dict']
    assert all(weight.isfinite().all() for weight in weights.values())


@pytest.mark.parametrize('content', [b'', b'no image', None], ids=['empty', 'foreign', 'cut off'])
def test_an_unreadable_image_is_named_and_survived(content, classifier, tmp_path):
    broken = tmp_path / 'images/train/a/0.png'
    broken.write_bytes(broken.read_bytes()[:20] if content is None else content)
    train(classifier, work_dir=str(tmp_path / 'run'), options={'train_cfg.max_epochs': 1})
    assert f"'{broken}' cannot be read" in _log(tmp_path / 'run')
    assert (tmp_path / 'run/epoch_1.pth').exists()


def test_an_unreadable_image_stops_an_evaluation_and_is_named(classifier, tmp_path):
    train(classifier, work_dir=str(tmp_path / 'run'), options={'train_cfg.max_epochs': 1})
    broken = tmp_path / 'images/train/a/0.png'
    broken.write_bytes(b'no image')
    with pytest.raises(UserError, match=r'a/0.png. cannot be read.* every image counts'):
        evaluate(classifier, str(tmp_path / 'run'), work_dir=str(tmp_path / 'eval'))


def test_a_mistake_in_the_pipeline_is_not_taken_for_a_broken_image(classifier, tmp_path):
    blur = dict(type='mmpretrain.GaussianBlur', radius='wide', prob=1.0)
    with pytest.raises(Exception, match='must be sequence of length 2') as error:
        train(classifier, work_dir=str(tmp_path), options={'train_dataloader.dataset.pipeline.1': blur})
    assert not isinstance(error.value, UserError)


@pytest.mark.parametrize('workers', [0, 1])
def test_an_error_of_the_pipeline_is_one_line_from_a_worker_as_well(workers, classifier, tmp_path):
    pipeline = [dict(type='mmmamba.LoadTokenLabel', label_root=str(tmp_path)), dict(type='PackInputs')]
    options = {'train_dataloader.num_workers': workers, 'train_dataloader.dataset.pipeline': pipeline}
    with pytest.raises(SystemExit) as ended, one_line_errors():
        train(classifier, work_dir=str(tmp_path / 'run'), options=options)
    assert re.fullmatch(r"error: image '\S+\.png' has no token label '\S+\.pt'; label_root holds .*", ended.value.code)


def test_more_classes_in_the_data_than_in_the_model_stop_before_training(classifier, tmp_path):
    noise(tmp_path / 'images/train/c/0.png')
    with pytest.raises(UserError, match=r'the dataset has 3 classes .* num_classes=2'):
        train(classifier, work_dir=str(tmp_path / 'run'))
    assert not list((tmp_path / 'run').glob('*.pth'))


def test_another_number_of_classes_in_a_head_than_in_the_annotations_stops_before_training(detector, tmp_path):
    with pytest.raises(UserError, match=r'the dataset has 1 classes .* num_classes=80'):
        train(detector([]), work_dir=str(tmp_path / 'run'), options={'model.roi_head.bbox_head.num_classes': 80})


def test_a_class_that_the_annotations_do_not_name_stops_before_training(detector, tmp_path):
    options = {'train_dataloader.dataset.metainfo.classes': ('thong',)}
    with pytest.raises(UserError, match=r"has no category 'thong'; it has 'thing'"):
        train(detector([]), work_dir=str(tmp_path / 'run'), options=options)


def test_annotations_without_a_sample_stop_before_training(detector, tmp_path):
    config = detector([])
    (tmp_path / 'instances.json').write_text(
        '{"images": [], "annotations": [], "categories": [{"id": 1, "name": "thing"}]}'
    )
    with pytest.raises(UserError, match='holds no sample'):
        train(config, work_dir=str(tmp_path / 'run'))
