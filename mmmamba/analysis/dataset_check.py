"""What is wrong with a data set, before training finds out: files, labels, boxes, class counts.

``engine/labels.py`` compares classes with the model and looks at each batch; this goes through all of the data.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import mmengine
import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmmamba.analysis.flops import build_on_meta
from mmmamba.engine.data_paths import check_data_paths
from mmmamba.engine.labels import check_dataset, class_head, dataset_leaves
from mmmamba.engine.progress import tracked
from mmmamba.errors import UserError

IGNORED = 255  # label of mmseg's maps
COLOUR = (0, 0, 255)  # BGR
NAMED = 20  # problems of one kind that a summary names


@dataclass
class DataReport:
    """What was found.

    Args:
        images: number of samples.
        objects: number of labels, boxes or pixels by class name.
        problems: by kind, what training would fail at or learn wrongly, each naming its file.
        notes: what may be meant.
        examples: by class name, an image and what of it shows the class: a box, a label of a map, or None for all.
    """

    images: int = 0
    objects: Counter = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    examples: dict[str, tuple[str, object]] = field(default_factory=dict)

    def problem(self, kind: str, what: str) -> None:
        """Add one."""
        self.problems.setdefault(kind, []).append(what)

    def lines(self) -> list[str]:
        """The report as text."""
        out = [f'{self.images} images']
        out += [f'  {name}: {count}' for name, count in self.objects.most_common()]
        out += [f'note: {note}' for note in self.notes]
        for kind, found in self.problems.items():
            out.append(f'PROBLEM: {kind}: {len(found)}')
            out += [f'  {what}' for what in found[:NAMED]]
            out += [f'  ... and {len(found) - NAMED} more'] if len(found) > NAMED else []
        return [*out, 'no problem found' if not self.problems else f'{len(self.problems)} kinds of problems']

    def as_dict(self) -> dict:
        """The report for JSON."""
        return dict(images=self.images, objects=dict(self.objects), problems=self.problems, notes=self.notes)


def check_data(
    cfg: Config,
    phase: str = 'train',
    *,
    read_files: bool = True,
    report: Callable[[str], None] | None = None,
) -> DataReport:
    """Go through the data of a config.

    Args:
        cfg: of mmdet, mmseg or mmpretrain.
        phase: ``train``, ``val`` or ``test``, whose data loader it is.
        read_files: decode every image and label map; False looks at annotations alone, which takes seconds.
        report: called with a line of progress now and then.

    Returns:
        Counts, problems and an example of every class.

    Raises:
        UserError: if the dataset is empty.
    """
    init_default_scope(cfg.default_scope)
    name = f'{phase}_dataloader'
    dataset = DATASETS.build(_without_pipeline(cfg[name].dataset))
    found = DataReport()
    model = build_on_meta(cfg)
    try:
        check_dataset(dataset, model, name)
    except UserError as error:
        if len(dataset) == 0:
            raise
        found.problem('classes', str(error))
    head = class_head(model)
    for leaf in dataset_leaves(dataset):
        classes = list(leaf.metainfo.get('classes') or range(head.num_classes))
        ids = getattr(leaf, 'cat_ids', None)
        if ids is not None:
            _check_coco(mmengine.load(leaf.ann_file), ids, found)
        for i in tracked(range(len(leaf)), len(leaf), report, 'images'):
            _check_sample(leaf, leaf.get_data_info(i), classes, read_files, found)
        absent = [str(each) for each in classes if not found.objects[str(each)]]
        if absent and (read_files or cfg.default_scope != 'mmseg'):
            found.notes.append(f'{len(absent)} classes without an example: {", ".join(absent[:NAMED])}')
    return found


def require_good_data(cfg: Config) -> None:
    """Look at the annotations of the training and validation data, and read no image: cheap enough for every start.

    Raises:
        UserError: if there is a problem; the message names the first of each kind.
    """
    for phase in ('train', 'val'):
        name = f'{phase}_dataloader'
        if cfg.get(name) is not None:
            check_data_paths(cfg, (name,))
            problems = check_data(cfg, phase, read_files=False).problems
            if problems:
                first = '; '.join(f'{kind}: {len(found)}, {found[0]}' for kind, found in problems.items())
                raise UserError(f'{name}: {first}; tools/misc/check_dataset.py CONFIG --phase {phase} lists them all')


def _without_pipeline(dataset: dict) -> dict:
    """The dataset, wrapped or not, without transforms and without a filter that hides images."""
    dataset = dict(dataset)
    if 'dataset' in dataset:
        dataset['dataset'] = _without_pipeline(dataset['dataset'])
    elif 'datasets' in dataset:
        dataset['datasets'] = [_without_pipeline(each) for each in dataset['datasets']]
    else:
        dataset['pipeline'] = []
        dataset.pop('filter_cfg', None)
    return dataset


def _check_sample(dataset, info: dict, classes: list, read_files: bool, found: DataReport) -> None:
    found.images += 1
    path = str(info.get('img_path', ''))
    image = _read(path, found, cv2.IMREAD_REDUCED_COLOR_2) if read_files else None
    for label, shown in _labels(info):
        if not 0 <= label < len(classes):
            found.problem('label out of range', f'{path}: {label} of {len(classes)} classes')
            continue
        _count(found, str(classes[label]), 1, path, shown)
    if 'instances' in info:
        if not info['instances']:
            found.objects['(images without a box)'] += 1
        elif all(each.get('ignore_flag') for each in info['instances']):
            found.objects['(images of crowds alone)'] += 1
        if not hasattr(dataset, 'cat_ids'):  # else _check_coco saw more than is left here
            for each in info['instances']:
                x1, y1, x2, y2 = each['bbox']
                _check_box((x1, y1, x2 - x1, y2 - y1), path, found)
    elif read_files and info.get('seg_map_path'):
        _check_map(info, classes, image, found)


def _labels(info: dict) -> Iterator[tuple[int, object]]:
    if 'instances' in info:
        for each in info['instances']:
            if not each.get('ignore_flag'):
                yield each['bbox_label'], each.get('bbox')
    elif 'gt_label' in info:
        for label in np.atleast_1d(info['gt_label']).tolist():
            yield label, None


def _count(found: DataReport, name: str, number: int, path: str, shown: object) -> None:
    found.objects[name] += number
    found.examples.setdefault(name, (path, shown))


def _read(path: str, found: DataReport, flags: int) -> np.ndarray | None:
    content = Path(path).read_bytes() if Path(path).is_file() else None
    if content is None:
        found.problem('missing file', path)
        return None
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flags) if content else None
    if image is None:
        found.problem('unreadable file', path)
    elif path.lower().endswith(('.jpg', '.jpeg')) and b'\xff\xd9' not in content[-64:]:
        found.problem('file that ends early', path)  # OpenCV fills the rest with grey
    return image


def _check_coco(content: dict, categories: list[int], found: DataReport) -> None:
    """What CocoDataset drops without a word: boxes without area, those of images that are not listed."""
    images = {image['id']: image for image in content['images']}
    for annotation in content['annotations']:
        if annotation['category_id'] not in categories:
            continue
        image = images.get(annotation['image_id'])
        where = f'annotation {annotation["id"]}'
        if image is None:
            found.problem('box of an image that is not listed', f'{where}, image {annotation["image_id"]}')
            continue
        where = f'{image["file_name"]}, {where}'
        if _check_box(annotation['bbox'], where, found):
            x, y, width, height = annotation['bbox']
            if min(x + width, image['width']) <= max(x, 0) or min(y + height, image['height']) <= max(y, 0):
                found.problem('box outside the image', f'{where}: {annotation["bbox"]}')


def _check_box(box: tuple[float, float, float, float], where: str, found: DataReport) -> bool:
    """x, y, width, height."""
    if not np.isfinite(box).all():
        found.problem('box that is not finite', f'{where}: {list(box)}')
    elif min(box[2:]) <= 0:
        found.problem('box without area', f'{where}: {list(box)}')
    elif min(box[2:]) < 1:
        found.problem('box of less than a pixel', f'{where}: {list(box)}')
    else:
        return True
    return False


def _check_map(info: dict, classes: list, image: np.ndarray | None, found: DataReport) -> None:
    path = str(info['seg_map_path'])
    labels = _read(path, found, cv2.IMREAD_UNCHANGED)
    if labels is None:
        return
    if labels.ndim != 2:
        found.problem('label map with colours', f'{path}: {labels.shape}; it has to hold one number a pixel')
        return
    if image is not None and tuple(-(-side // 2) for side in labels.shape) != image.shape[:2]:
        found.problem('label map of another size than its image', f'{path}: {labels.shape}')
    values, counts = np.unique(labels, return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        label = (info.get('label_map') or {}).get(value, value)
        if info.get('reduce_zero_label'):
            label = IGNORED if label in (0, IGNORED) else label - 1
        if label == IGNORED:
            found.objects['(ignored)'] += count
        elif 0 <= label < len(classes):
            _count(found, str(classes[label]), count, info['img_path'], (path, value))
        else:
            found.problem('label out of range', f'{path}: {value}, {count} pixels, of {len(classes)} classes')


def draw_examples(found: DataReport, out_dir: str | Path) -> list[Path]:
    """Write a picture for every class: the image, with a red box or outline where the class is.

    Args:
        found: of ``check_data``.
        out_dir: made if it is not there.

    Returns:
        The files.
    """
    out_dir = Path(out_dir)
    out_dir.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (path, shown) in found.examples.items():
        image = cv2.imread(path)
        if image is None:  # reported above
            continue
        if isinstance(shown, tuple):
            labels = cv2.imread(shown[0], cv2.IMREAD_UNCHANGED)
            outline, _ = cv2.findContours(np.uint8(labels == shown[1]), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            cv2.drawContours(image, outline, -1, COLOUR, 1)
        elif shown is not None:
            x1, y1, x2, y2 = (round(float(value)) for value in shown)
            cv2.rectangle(image, (x1, y1), (x2, y2), COLOUR, 1)
        file = out_dir / f'{"".join(c if c.isalnum() or c in "-_. " else "_" for c in name)}.png'
        cv2.imwrite(str(file), image)
        written.append(file)
    return written
