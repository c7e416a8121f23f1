"""check_dataset.py finds what is wrong, and nothing in data that are right."""

import json
import shutil

import cv2
import numpy as np
import pytest

TOOL = 'misc/check_dataset.py'


@pytest.fixture
def spoilt(handwriting, demo, tmp_path):
    """A copy of the data that a test may spoil: call it with a task for its folder, config and flags."""

    def copy(task):
        config, flags = demo(task)
        folder = dict(cls='imagenet', det='coco', seg='ade20k')[task]
        shutil.copytree(handwriting / folder, tmp_path / folder)
        return tmp_path / folder, config, [flag.replace(str(handwriting), str(tmp_path)) for flag in flags]

    return copy


def problems(run_tool, tmp_path, config, flags):
    with pytest.raises(SystemExit) as ended:
        run_tool(TOOL, config, '--out-dir', tmp_path / 'report', *flags)
    assert ended.value.code == 1
    return json.loads((tmp_path / 'report/report.json').read_text())['problems']


@pytest.mark.parametrize('task', ['cls', 'det', 'seg'])
def test_good_data_have_no_problem_and_a_picture_for_every_class(task, demo, run_tool, tmp_path, capsys):
    config, flags = demo(task)
    run_tool(TOOL, config, '--out-dir', tmp_path, *flags)
    assert 'no problem found' in capsys.readouterr().out
    report = json.loads((tmp_path / 'report.json').read_text())
    classes = {name for name in report['objects'] if not name.startswith('(')}
    assert {path.stem for path in (tmp_path / 'classes').glob('*.png')} == classes


def test_boxes_without_area_and_outside_are_found(spoilt, run_tool, tmp_path):
    root, config, flags = spoilt('det')
    file = root / 'annotations/instances_train.json'
    content = json.loads(file.read_text())
    for annotation, box in zip(content['annotations'], [[5, 5, 0, 9], [500, 5, 9, 9], [5, 5, 0.5, 9]], strict=False):
        annotation['bbox'] = box
    content['annotations'][3]['image_id'] = 999
    file.write_text(json.dumps(content))
    found = problems(run_tool, tmp_path, config, flags)
    expected = {'box without area', 'box outside the image', 'box of less than a pixel',
                'box of an image that is not listed'}  # fmt: skip
    assert set(found) == expected
    assert '.png, annotation' in found['box without area'][0]


def test_labels_out_of_range_and_maps_of_another_size_are_found(spoilt, run_tool, tmp_path):
    root, config, flags = spoilt('seg')
    first, second, third, fourth = sorted((root / 'annotations/training').iterdir())
    labels = cv2.imread(str(first), cv2.IMREAD_UNCHANGED)
    labels[:2, :3] = 77
    cv2.imwrite(str(first), labels)
    cv2.imwrite(str(second), labels[:50] % 11)
    cv2.imwrite(str(third), np.zeros((96, 96, 3), np.uint8))
    fourth.write_bytes(fourth.read_bytes()[:30])
    found = problems(run_tool, tmp_path, config, flags)
    assert set(found) == {'label out of range', 'label map of another size than its image', 'label map with colours',
                          'unreadable file'}  # fmt: skip
    assert found['label out of range'] == [f'{first}: 77, 6 pixels, of 11 classes']


def test_unreadable_images_and_a_wrong_number_of_classes_are_found(spoilt, run_tool, tmp_path):
    root, config, flags = spoilt('cls')
    image = next((root / 'train').rglob('*.png'))
    image.write_bytes(b'')
    found = problems(run_tool, tmp_path, config, [*flags, 'model.head.num_classes=7'])
    assert found['unreadable file'] == [str(image)]
    assert 'num_classes=7' in found['classes'][0]


def test_annotations_alone_are_checked_without_reading_images(spoilt, run_tool, capsys):
    root, config, flags = spoilt('cls')
    next((root / 'train').rglob('*.png')).write_bytes(b'')
    run_tool(TOOL, config, '--annotations-only', *flags)
    assert 'no problem found' in capsys.readouterr().out


def test_training_can_be_asked_to_check_first(spoilt, run_tool):
    root, config, flags = spoilt('det')
    file = root / 'annotations/instances_val.json'
    content = json.loads(file.read_text())
    content['annotations'][0]['bbox'][2] = 0
    file.write_text(json.dumps(content))
    with pytest.raises(SystemExit, match=r'error: val_dataloader: box without area: 1, 000000.png, annotation'):
        run_tool('train.py', config, '--check-data', *flags)
