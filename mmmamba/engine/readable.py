"""Training goes on past an image that cannot be read."""

import logging

import mmcv
from mmengine import fileio
from mmengine.dataset import Compose
from mmengine.logging import print_log

from mmmamba.engine.labels import dataset_leaves
from mmmamba.errors import UserError

MIN_ASPECT = 1 / 100  # of what an image that breaks its transforms is called too thin for them


class ReadablePipeline(Compose):
    """A dataset's pipeline; a training sample it cannot read is named in the log and replaced by another.

    Args:
        pipeline: whose transforms are run.
        test_mode: whether the dataset is evaluated, where no sample may be replaced.

    A call returns None for a sample left out, at which mmengine's dataset draws another.

    Raises:
        UserError: in ``test_mode``, naming the file.
    """

    def __init__(self, pipeline: Compose, test_mode: bool) -> None:
        self.transforms = pipeline.transforms
        self.test_mode = test_mode
        self._reported = set()

    def __call__(self, data: dict) -> dict | None:
        paths = [data[key] for key in ('img_path', 'seg_map_path') if data.get(key)]
        try:
            return super().__call__(data)
        except Exception:
            # Any library below may have raised anything; whether the file is to blame is asked of the file.
            fault = next(filter(None, map(_fault, paths)), None)
            if fault is None:
                raise
        if self.test_mode:
            raise UserError(f'{fault}; every image counts in an evaluation: mend it or take it out of the annotations')
        if fault not in self._reported:
            self._reported.add(fault)
            print_log(f'{fault}; another sample is taken in its place', logger='current', level=logging.WARNING)
        return None


def skip_unreadable(dataset) -> None:
    """Give each leaf of a dataset, as mmengine builds it, a pipeline that names what it cannot read."""
    for leaf in dataset_leaves(dataset):
        if type(getattr(leaf, 'pipeline', None)) is Compose:
            leaf.pipeline = ReadablePipeline(leaf.pipeline, leaf.test_mode)


def _fault(path: str) -> str | None:
    try:
        image = mmcv.imfrombytes(fileio.get(path), flag='unchanged')
    except Exception as error:
        return f'{path!r} cannot be read ({type(error).__name__}: {error})'
    if image is None:
        return f'{path!r} cannot be read: it is no image that cv2 knows, or is cut off'
    height, width = image.shape[:2]
    if min(height, width) < MIN_ASPECT * max(height, width):
        return f'{path!r} is too thin for the transforms: {height} x {width}'
    return None
