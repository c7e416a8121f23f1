"""Which class is taken for which: confusion matrices of detectors, segmentors and classifiers.

Rows are the ground truth, columns the predictions. Of a detector the last row holds boxes that match no object, the
last column objects that no box matches.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from torchvision.ops import batched_nms, box_iou

from mmmamba.analysis.results import build_test_dataset, read_predictions
from mmmamba.engine import evaluate

IGNORED = 255  # label of mmseg's maps


def confusion_matrix(
    cfg: Config,
    results: str | Path,
    *,
    score_thr: float = 0.3,
    tp_iou_thr: float = 0.5,
    nms_iou_thr: float | None = None,
) -> tuple[np.ndarray, list[str]]:
    """Count.

    Args:
        cfg: the config that the predictions were made with.
        results: as ``tools/test.py --out`` wrote them.
        score_thr: boxes with less do not count.
        tp_iou_thr: overlap from which on a box is that of an object.
        nms_iou_thr: suppress boxes of one class again with this threshold.

    Returns:
        (C, C) or, of a detector, (C + 1, C + 1) int64, and the names of its rows.
    """
    dataset = build_test_dataset(cfg)
    predictions = read_predictions(cfg, results, dataset)
    classes = list(dataset.metainfo['classes'])
    if cfg.default_scope == 'mmseg':
        pairs = [(p['gt_sem_seg']['data'].flatten(), p['pred_sem_seg']['data'].flatten()) for p in predictions]
        ignored = cfg.model.decode_head.get('ignore_index', IGNORED)
        return sum(_count(*pair, len(classes), ignored) for pair in pairs), classes
    if cfg.default_scope == 'mmpretrain':
        truth = torch.cat([torch.as_tensor(p['gt_label']).flatten()[:1] for p in predictions])
        predicted = torch.cat([torch.as_tensor(p['pred_score']).argmax()[None] for p in predictions])
        return _count(truth, predicted, len(classes)), classes
    matrix = np.zeros((len(classes) + 1,) * 2, dtype=np.int64)
    for i, prediction in enumerate(predictions):
        boxes = prediction['pred_instances']
        kept = boxes['scores'] >= score_thr
        found, labels, scores = boxes['bboxes'][kept], boxes['labels'][kept], boxes['scores'][kept]
        if nms_iou_thr is not None:
            order = batched_nms(found.float(), scores, labels, nms_iou_thr)
            found, labels = found[order], labels[order]
        objects = [each for each in dataset.get_data_info(i)['instances'] if not each.get('ignore_flag')]
        add_detections(matrix, objects, found, labels, tp_iou_thr)
    return matrix, [*classes, 'background']


def confusion_matrix_of_checkpoint(
    config: str, checkpoint: str, cfg: Config, options: dict | None, **thresholds: float | None
) -> tuple[np.ndarray, list[str]]:
    """Predict first, then count; arguments as of ``evaluate`` and ``confusion_matrix``."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder, 'maps' if cfg.default_scope == 'mmseg' else 'results.pkl'))
        evaluate(config, checkpoint, out=out, work_dir=folder, options=options)
        return confusion_matrix(cfg, out, **thresholds)


def add_detections(
    matrix: np.ndarray, objects: Sequence[dict], boxes: torch.Tensor, labels: torch.Tensor, tp_iou_thr: float
) -> None:
    """Count the boxes of one image as mmdet does: each counts at every object it overlaps enough.

    Args:
        matrix: (C + 1, C + 1), changed in place.
        objects: ground truth, each with ``bbox`` (x1, y1, x2, y2) and ``bbox_label``.
        boxes: (N, 4).
        labels: (N,).
        tp_iou_thr: what is enough.
    """
    corners = torch.tensor([each['bbox'] for each in objects], dtype=torch.float32).view(-1, 4)
    truth = torch.tensor([each['bbox_label'] for each in objects], dtype=torch.int64)
    matches = box_iou(corners, boxes.float().view(-1, 4)) >= tp_iou_thr  # (objects, boxes)
    for row, column in matches.nonzero().tolist():
        matrix[truth[row], labels[column]] += 1
    np.add.at(matrix, (-1, labels[~matches.any(0)].numpy()), 1)
    missed = ~(matches & (truth[:, None] == labels)).any(1)
    np.add.at(matrix, (truth[missed].numpy(), -1), 1)


def plot(
    matrix: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = 'Normalized Confusion Matrix',
    cmap: str = 'plasma',
    include_values: bool | None = None,
) -> Figure:
    """Draw a matrix, each row in percent of its sum.

    Args:
        matrix: (C, C) counts.
        classes: C names.
        title: of the figure.
        cmap: colours, as matplotlib calls them.
        include_values: write them into the cells; None does so up to 30 classes.
    """
    share = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    count = len(classes)
    side = min(max(4, 0.5 * count), 40)
    figure = Figure((side * 1.25, side), dpi=120, layout='constrained')
    axes = figure.subplots()
    figure.colorbar(axes.imshow(share, cmap=cmap, vmin=0, vmax=100), ax=axes, label='% of the row')
    axes.set(title=title, xlabel='Prediction', ylabel='Ground truth')
    size = 8 if count <= 60 else 3
    axes.set_xticks(range(count), classes, rotation=90, fontsize=size)
    axes.set_yticks(range(count), classes, fontsize=size)
    if include_values or (include_values is None and count <= 30):
        for row, column in np.ndindex(*share.shape):
            colour = 'k' if share[row, column] > 60 else 'w'
            axes.text(column, row, f'{share[row, column]:.0f}', ha='center', va='center', color=colour, fontsize=7)
    return figure


def _count(truth: torch.Tensor, predicted: torch.Tensor, classes: int, ignored: int | None = None) -> np.ndarray:
    """(P,) labels and predictions to (C, C) counts."""
    kept = (truth >= 0) & (truth < classes)
    if ignored is not None:
        kept &= truth != ignored
    pairs = classes * truth[kept].long() + predicted[kept].long()
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes).numpy()
