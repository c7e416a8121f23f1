"""Predictions for files: an image, a folder of images or a video to pictures and JSON."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import mmcv
import numpy as np

from mmmamba.apis.inferencer import ImagePredictor
from mmmamba.engine.progress import tracked
from mmmamba.errors import UserError

IMAGES = ('.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp')
VIDEOS = ('.avi', '.m4v', '.mkv', '.mov', '.mp4', '.webm')


@dataclass
class Written:
    """What a call wrote.

    Args:
        records: JSON files.
        pictures: images and videos.
        unreadable: files that could not be read and were passed over.
    """

    records: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)
    unreadable: list[Path] = field(default_factory=list)


def predict_files(
    predictor: ImagePredictor,
    source: str | Path,
    out_dir: str | Path,
    *,
    score_thr: float = 0.3,
    report: Callable[[str], None] = lambda line: None,
) -> Written:
    """Predict and write ``out_dir/vis/NAME`` and ``out_dir/preds/NAME.json``.

    Args:
        predictor: of ``build_inferencer``.
        source: an image, a video, or a folder, whose images and videos are taken, those in folders of it as well.
        out_dir: made if it is not there.
        score_thr: leaves boxes with less out of picture and record.
        report: called with a line of progress now and then.

    Returns:
        What was written and what could not be read.

    Raises:
        UserError: if there is nothing to read.
    """
    source, out_dir, written = Path(source), Path(out_dir), Written()
    files = list_files(source)
    for file in tracked(files, len(files), report, 'files'):
        name = file.relative_to(source) if source.is_dir() else Path(file.name)
        writer = _video if file.suffix.lower() in VIDEOS else _image
        if not writer(predictor, file, out_dir, name, score_thr, written):
            written.unreadable.append(file)
            report(f'{file} cannot be read: it is damaged or of another format; passed over')
    if not written.records:
        raise UserError(f'nothing in {str(source)!r} can be read: {len(files)} files are damaged or of another format')
    return written


def list_files(source: Path) -> list[Path]:
    """The images and videos that ``source`` names.

    Raises:
        UserError: if there are none.
    """
    known = (*IMAGES, *VIDEOS)
    if source.is_dir():
        files = sorted(file for file in source.rglob('*') if file.suffix.lower() in known and file.is_file())
        if not files:
            raise UserError(f'no image or video in the folder {str(source)!r}; known are {", ".join(known)}')
        return files
    if not source.is_file():
        raise UserError(f'{str(source)!r} does not exist; give an image, a folder of images or a video')
    if source.suffix.lower() not in known:
        raise UserError(f'{str(source)!r} is neither an image nor a video by its name; known are {", ".join(known)}')
    return [source]


def _image(
    predictor: ImagePredictor, file: Path, out_dir: Path, name: Path, score_thr: float, written: Written
) -> bool:
    image = cv2.imdecode(np.frombuffer(file.read_bytes() or b'\0', np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return False
    sample = predictor.predict(image)
    picture = out_dir / 'vis' / name.with_suffix('.png')
    mmcv.imwrite(np.ascontiguousarray(predictor.draw(image, sample, score_thr)), str(picture))
    written.pictures.append(picture)
    height, width = image.shape[:2]
    record = {'file': str(file), 'height': height, 'width': width, **predictor.describe(sample, score_thr)}
    written.records.append(_dump(record, out_dir / 'preds' / f'{name}.json'))
    return True


def _video(
    predictor: ImagePredictor, file: Path, out_dir: Path, name: Path, score_thr: float, written: Written
) -> bool:
    video = cv2.VideoCapture(str(file))
    rate = video.get(cv2.CAP_PROP_FPS) or 25.0
    target, writer = out_dir / 'vis' / name.with_suffix('.mp4'), None
    frames: list[dict] = []
    for frame in _frames(video):
        sample = predictor.predict(frame)
        drawn = np.ascontiguousarray(predictor.draw(frame, sample, score_thr))
        if writer is None:
            target.parent.mkdir(parents=True, exist_ok=True)
            writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*'mp4v'), rate, drawn.shape[1::-1])
        writer.write(drawn)
        frames.append({'frame': len(frames), **predictor.describe(sample, score_thr)})
    video.release()
    if writer is None:
        return False
    writer.release()
    written.pictures.append(target)
    height, width = frame.shape[:2]
    record = {'file': str(file), 'height': height, 'width': width, 'fps': rate, 'frames': frames}
    written.records.append(_dump(record, out_dir / 'preds' / f'{name}.json'))
    return True


def _frames(video: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        there, frame = video.read()
        if not there:
            return
        yield frame


def _dump(record: dict, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1))
    return path
