"""Pictures of training data as the pipeline makes them, with their labels."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, VISUALIZERS, init_default_scope
from mmengine.structures import BaseDataElement

from mmmamba.engine.progress import tracked


def browse(
    cfg: Config,
    *,
    phase: str = 'train',
    out_dir: str | Path | None = None,
    number: int | None = None,
    show_interval: float | None = None,
    report: Callable[[str], None] | None = None,
) -> int:
    """Draw samples.

    Args:
        cfg: of mmdet, mmseg or mmpretrain.
        phase: ``train``, ``val`` or ``test``, whose data loader it is.
        out_dir: for the pictures; None writes none.
        number: of samples; None is all.
        show_interval: seconds that each is shown in a window; None shows none.
        report: called with a line of progress now and then.

    Returns:
        How many were drawn.
    """
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg[f'{phase}_dataloader'].dataset)
    visualizer = VISUALIZERS.build({'name': 'browse', **cfg.visualizer, 'vis_backends': None})
    visualizer.dataset_meta = dataset.metainfo
    total = len(dataset) if number is None else min(number, len(dataset))
    show = dict(show=show_interval is not None, wait_time=show_interval or 0)
    for i, (image, sample) in enumerate(tracked(itertools.islice(samples(dataset), total), total, report, 'samples')):
        name = f'{i:06d}_{Path(sample.get("img_path", "image")).stem}'
        out_file = None if out_dir is None else str(Path(out_dir, f'{name}.png'))
        if out_file is not None:
            Path(out_file).parent.mkdir(parents=True, exist_ok=True)
        if cfg.default_scope == 'mmpretrain':
            classes = dataset.metainfo.get('classes')
            visualizer.visualize_cls(
                image, sample, classes=classes, draw_pred=False, out_file=out_file, name=name, **show
            )
        else:
            visualizer.add_datasample(name, image, sample, draw_pred=False, out_file=out_file, **show)
    return total


def samples(dataset) -> Iterator[tuple[np.ndarray, BaseDataElement]]:
    """Images, (H, W, 3) uint8, RGB, with their ground truth as the visualizers take it."""
    for i in range(len(dataset)):
        item = dataset[i]
        image = item['inputs'].permute(1, 2, 0).numpy()
        if image.dtype != np.uint8:
            image = (255 * (image - image.min()) / max(float(np.ptp(image)), 1e-6)).astype(np.uint8)
        sample = item['data_samples']
        if 'gt_instances' in sample:
            sample = _plain_instances(sample)
        yield np.ascontiguousarray(image[..., 2::-1] if image.shape[2] >= 3 else image.repeat(3, 2)), sample


def _plain_instances(sample: BaseDataElement) -> BaseDataElement:
    sample = sample.numpy()
    instances = sample.gt_instances
    if 'bboxes' in instances:
        instances.bboxes = getattr(instances.bboxes, 'tensor', instances.bboxes)
    if 'masks' in instances:
        instances.masks = instances.masks.to_ndarray().astype(bool)
    return sample
