"""tools/image_demo.py, and the inferencers behind it."""

import json

import cv2
import mmdet.apis
import numpy as np
import pytest

from mmmamba.apis import DetInferencer, ImageClassificationInferencer, MMSegInferencer

DEMO = {
    'cls': 'cls_vmamba-nano_handwriting',
    'det': 'mask-rcnn_vmamba-nano_handwriting',
    'seg': 'upernet_vmamba-nano_handwriting',
}
TOOL = 'image_demo.py'


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'images' / 'noise.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8))
    return path


@pytest.mark.parametrize(('task', 'keys'), [
    ('cls', {'label', 'score', 'top'}),
    ('det', {'labels', 'scores', 'bboxes', 'masks', 'classes'}),
    ('seg', {'segments'}),
])  # fmt: skip
def test_an_image_becomes_a_picture_and_a_record(task, keys, image, tmp_path, run_tool, demo_weights):
    run_tool(TOOL, image, DEMO[task], demo_weights(task), '--out-dir', tmp_path / 'out', '--pred-score-thr', '0.0')
    record = json.loads((tmp_path / 'out/preds/noise.png.json').read_text())
    assert set(record) == {'file', 'height', 'width', *keys}
    assert (record['height'], record['width']) == (96, 128)
    assert cv2.imread(str(tmp_path / 'out/vis/noise.png')).ndim == 3
    if task == 'seg':
        assert sum(segment['share'] for segment in record['segments']) == pytest.approx(1)


def test_a_folder_with_a_damaged_file_is_gone_through(image, tmp_path, run_tool, demo_weights, capsys):
    (image.parent / 'deep').mkdir()
    (image.parent / 'deep' / 'broken.jpg').write_bytes(image.read_bytes()[:40])
    (image.parent / 'empty.png').touch()
    with pytest.raises(SystemExit, match='error: 2 files could not be read'):
        run_tool(TOOL, image.parent, DEMO['cls'], demo_weights('cls'), '--out-dir', tmp_path / 'out')
    assert 'broken.jpg cannot be read' in capsys.readouterr().err
    assert [path.name for path in (tmp_path / 'out/preds').rglob('*.json')] == ['noise.png.json']


def test_a_video_becomes_a_video_and_a_record(image, tmp_path, run_tool, demo_weights):
    writer = cv2.VideoWriter(str(tmp_path / 'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 10, (128, 96))
    for _ in range(3):
        writer.write(cv2.imread(str(image)))
    writer.release()
    run_tool(TOOL, tmp_path / 'v.avi', DEMO['seg'], demo_weights('seg'), '--out-dir', tmp_path / 'out')
    record = json.loads((tmp_path / 'out/preds/v.avi.json').read_text())
    assert [frame['frame'] for frame in record['frames']] == [0, 1, 2]
    assert record['fps'] == 10
    video = cv2.VideoCapture(str(tmp_path / 'out/vis/v.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 3


@pytest.mark.parametrize(('name', 'message'), [
    ('absent.png', 'does not exist; give an image'),
    ('notes.txt', 'neither an image nor a video'),
    ('folder', 'no image or video in the folder'),
])  # fmt: skip
def test_what_cannot_be_read_is_one_line(name, message, tmp_path, run_tool, demo_weights):
    (tmp_path / 'notes.txt').touch()
    (tmp_path / 'folder').mkdir()
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run_tool(TOOL, tmp_path / name, DEMO['cls'], demo_weights('cls'))


def test_the_inferencers_take_names_and_give_what_their_libraries_do(image, demo_weights):
    detector = DetInferencer(DEMO['det'], str(demo_weights('det')), device='cpu', show_progress=False)
    assert isinstance(detector, mmdet.apis.DetInferencer)
    assert set(detector(str(image))['predictions'][0]) == {'labels', 'scores', 'bboxes', 'masks'}
    segmentor = MMSegInferencer(DEMO['seg'], str(demo_weights('seg')), device='cpu', show_progress=False)
    assert segmentor(str(image))['predictions'].shape == (96, 128)
    classifier = ImageClassificationInferencer(DEMO['cls'], str(demo_weights('cls')))
    assert classifier(str(image))[0]['pred_scores'].shape == (10,)


def test_the_classes_of_the_config_name_those_of_a_file_without_any(demo_weights):
    detector = DetInferencer(DEMO['det'], str(demo_weights('det')), device='cpu')
    assert tuple(detector.model.dataset_meta['classes']) == tuple('0123456789')
