"""Do data and model mean the same classes? Asked of the dataset before training and of every batch."""

from collections.abc import Iterator, Sequence

import mmengine
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from mmmamba.engine.unwrap import unwrap_model
from mmmamba.errors import UserError

# Where the three libraries keep the module whose ``num_classes`` the labels count in.
HEADS = ('roi_head.bbox_head', 'bbox_head', 'decode_head', 'head')

NO_SAMPLE = (
    '{}: the dataset holds no sample; look at its ann_file, data_prefix and filter_cfg, and at whether its '
    'metainfo.classes are named in the annotations'
)


def class_head(model: nn.Module) -> nn.Module | None:
    """Find the head that predicts classes.

    Args:
        model: a detector, segmentor or classifier, wrapped or not.

    Returns:
        The head, the last of a cascade; None if there is none, or if it does not know classes, as that of an RPN.
    """
    model = unwrap_model(model)
    for path in HEADS:
        head = model
        for name in path.split('.'):
            head = getattr(head, name, None)
        if isinstance(head, nn.ModuleList):
            head = head[-1]
        if isinstance(getattr(head, 'num_classes', None), int) and type(head).__name__ != 'RPNHead':
            return head
    return None


def check_dataset(dataset, model: nn.Module, name: str) -> None:
    """Compare a dataset's classes with the model's.

    Args:
        dataset: as mmengine builds it, nested or not.
        model: the model it is for.
        name: what to call it in the message, ``'train_dataloader'``.

    Raises:
        UserError: if the dataset is empty, or counts other classes than the model.
    """
    if len(dataset) == 0:
        raise UserError(NO_SAMPLE.format(name))
    head = class_head(model)
    for leaf in dataset_leaves(dataset):
        classes = (getattr(leaf, 'metainfo', None) or {}).get('classes')
        if not isinstance(classes, Sequence) or isinstance(classes, str):
            continue
        _check_categories(leaf, classes, name)
        # A classifier may have more outputs than there are folders; the metrics of the others index by class.
        is_classifier = head is getattr(unwrap_model(model), 'head', None)
        if head is not None and (
            len(classes) > head.num_classes if is_classifier else len(classes) != head.num_classes
        ):
            raise UserError(
                f'{name}: the dataset has {len(classes)} classes ({_few(classes)}), the {type(head).__name__} has '
                f'num_classes={head.num_classes}; make num_classes (in every head) equal to the number of classes, or '
                'name the classes you want in the metainfo of the dataset'
            )


def check_batch(data_samples: Sequence[BaseDataElement], head: nn.Module) -> None:
    """Compare the ground truth of a batch with a head.

    Args:
        data_samples: ground truth of mmdet (``gt_instances``), mmseg (``gt_sem_seg``) or mmpretrain (``gt_label``).
        head: what ``class_head`` returns.

    Raises:
        UserError: if a label is outside ``0 .. num_classes - 1``, or a box has a NaN or no area.
    """
    for sample in data_samples:
        if 'gt_instances' in sample and 'labels' in sample.gt_instances:
            _check_labels(sample.gt_instances.labels, head, sample)
            _check_boxes(sample.gt_instances.get('bboxes'), sample)
        elif 'gt_sem_seg' in sample and hasattr(head, 'ignore_index'):
            _check_labels(sample.gt_sem_seg.data, head, sample, head.ignore_index)
        elif 'gt_label' in sample:
            _check_labels(sample.gt_label, head, sample)


def dataset_leaves(dataset) -> Iterator:
    """The datasets that a nested one, as mmengine builds it, is made of."""
    inner = getattr(dataset, 'datasets', None) or ([dataset.dataset] if hasattr(dataset, 'dataset') else None)
    if inner is None:
        yield dataset
    else:
        for each in inner:
            yield from dataset_leaves(each)


def _check_categories(dataset, classes: Sequence[str], name: str) -> None:
    """mmdet's CocoDataset drops classes that the file does not name, and every label after them means another class."""
    if hasattr(dataset, 'cat_ids') and len(dataset.cat_ids) != len(classes):
        named = [category['name'] for category in mmengine.load(dataset.ann_file)['categories']]
        absent = [each for each in classes if each not in named]
        raise UserError(
            f'{name}: {dataset.ann_file!r} has no category {_few(absent)}; it has {_few(named)}: '
            'set metainfo=dict(classes=(...)) of the dataset to those, and num_classes of the heads to their number'
        )


def _check_labels(labels: torch.Tensor, head: nn.Module, sample: BaseDataElement, ignore: int | None = None) -> None:
    outside = (labels < 0) | (labels >= head.num_classes)
    if ignore is not None:
        outside &= labels != ignore
    if outside.any():
        besides = '' if ignore is None else f' or {ignore} (ignored)'
        raise UserError(
            f'{_origin(sample)}: label {labels[outside].unique().tolist()[:8]} is outside 0..{head.num_classes - 1}'
            f'{besides}, the classes of the {type(head).__name__}; correct the annotations, num_classes of the heads, '
            "or, for maps that count from 1, set the dataset's reduce_zero_label=True"
        )


def _check_boxes(boxes, sample: BaseDataElement) -> None:
    boxes = getattr(boxes, 'tensor', boxes)
    if boxes is None or boxes.shape[-1] != 4:  # rotated boxes have no corners to compare
        return
    bad = ~(boxes[:, 2:] > boxes[:, :2]).all(dim=1) | ~boxes.isfinite().all(dim=1)
    if bad.any():
        raise UserError(
            f'{_origin(sample)}: box {[round(x, 2) for x in boxes[bad][0].tolist()]} (x1, y1, x2, y2) has no area or '
            "is not finite, which makes the box loss NaN; correct it, or add dict(type='FilterAnnotations', "
            'min_gt_bbox_wh=(1, 1)) after the transforms that crop'
        )


def _origin(sample: BaseDataElement) -> str:
    return str(sample.get('img_path', 'a training image'))


def _few(names: Sequence[str], count: int = 5) -> str:
    return ', '.join(map(repr, names[:count])) + (', ...' if len(names) > count else '')
