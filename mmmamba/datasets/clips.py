"""Clips of video for classifiers, whose libraries load images only."""

from collections.abc import Sequence
from pathlib import Path

import mmcv
import numpy as np
from mmcv.transforms import BaseTransform

from mmmamba.errors import UserError
from mmmamba.registry import TRANSFORMS

IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of R, G, B


@TRANSFORMS.register_module()
class LoadClip(BaseTransform):
    """Load frames at equal distances of a video as one normalised clip, (3, T, H, W) of RGB.

    A video is a file that OpenCV reads, or a folder whose images, in order of their names, are its frames. It is cut
    into T parts of equal length and the middle frame of each is taken, some twice where there are fewer than T. Of each
    frame the largest box in the middle that has the shape of the clip is resized to it.

    ``PackInputs`` follows. The preprocessor neither normalises nor turns channels round:
    ``data_preprocessor=dict(mean=None, std=None, to_rgb=False)``.

    Args:
        num_frames: T.
        size: height and width.
        mean: of R, G and B, which is subtracted.
        std: what they are then divided by.

    Reads ``img_path``; adds ``img`` (3, T, H, W) float32, ``img_shape`` and ``ori_shape``.

    Raises:
        UserError: if there is no such file or folder, it holds no frame, or one cannot be read.
    """

    def __init__(
        self,
        num_frames: int,
        size: Sequence[int] = (224, 224),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        self.num_frames, self.size = num_frames, tuple(size)
        self.mean, self.std = np.float32(mean), np.float32(std)

    def transform(self, results: dict) -> dict:
        path = results['img_path']
        if not Path(path).exists():
            raise UserError(f"video '{path}' does not exist; put it there, or leave it out of the annotations")
        if Path(path).is_dir():
            names = sorted(file for file in Path(path).iterdir() if file.suffix.lower() in ('.jpg', '.jpeg', '.png'))
            frames = [mmcv.imread(names[i]) for i in self._chosen(len(names), path)]
        else:
            video = mmcv.VideoReader(path)
            frames = [video[i] for i in self._chosen(video.frame_cnt, path)]
        if any(frame is None for frame in frames):
            raise UserError(f"a frame of the video '{path}' cannot be read; encode it again, or leave it out")
        clip = np.stack([self._fitted(frame) for frame in frames])[..., ::-1]  # (T, H, W, 3), BGR to RGB
        results['img'] = np.ascontiguousarray(((clip - self.mean) / self.std).transpose(3, 0, 1, 2))
        results['ori_shape'], results['img_shape'] = frames[0].shape[:2], self.size
        return results

    def _chosen(self, count: int, path: str) -> list[int]:
        if count < 1:
            raise UserError(f"video '{path}' has no frame that can be read; encode it again, or leave it out")
        return [(2 * i + 1) * count // (2 * self.num_frames) for i in range(self.num_frames)]

    def _fitted(self, frame: np.ndarray) -> np.ndarray:
        (height, width), (rows, cols) = frame.shape[:2], self.size
        scale = min(height / rows, width / cols)
        rows, cols = max(1, round(rows * scale)), max(1, round(cols * scale))
        top, left = (height - rows) // 2, (width - cols) // 2
        return mmcv.imresize(frame[top : top + rows, left : left + cols], self.size[::-1])

    def __repr__(self) -> str:
        return f'{type(self).__name__}(num_frames={self.num_frames}, size={self.size})'
