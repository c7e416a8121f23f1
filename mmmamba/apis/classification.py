"""mmpretrain's inferencer for our models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import DefaultScope
from mmpretrain.apis import ImageClassificationInferencer as MMPretrainInferencer
from mmpretrain.structures import DataSample
from mmpretrain.visualization import UniversalVisualizer

from mmmamba.apis.models import get_model, list_models
from mmmamba.errors import UserError

TOP = 5  # classes that a record names


class ImageClassificationInferencer(MMPretrainInferencer):
    """mmpretrain's ``ImageClassificationInferencer`` with our names and safe checkpoints.

    Args:
        model: name of a config of ours, path of any, a config or a model of ``get_model``.
        pretrained: path or address of a checkpoint; False for none.
        device: where the model goes; None leaves it on the CPU.
        classes: names of the classes; None takes those of the checkpoint or the config.
        **options: entries that override those of the config's ``model``.

    Raises:
        UserError: if the model is no classifier, or is given as a model together with a checkpoint.
    """

    visualizer: Any  # None until the first picture

    def __init__(
        self,
        model: str | Path | Config | BaseModel,
        pretrained: str | bool = False,
        device: str | torch.device | None = None,
        classes: list[str] | None = None,
        **options: object,
    ) -> None:
        if not isinstance(model, BaseModel):
            model = get_model(model, pretrained, device=device, **options)
        elif pretrained or options:
            raise UserError('this model is built already; give its checkpoint and its options to get_model')
        if model.cfg.default_scope != 'mmpretrain':
            library = model.cfg.default_scope
            raise UserError(f'a {type(model).__name__} is no classifier; use the inferencer of {library}')
        super().__init__(model, pretrained=False, device=device, classes=classes)

    def _init_pipeline(self, cfg: Config) -> Callable:
        with DefaultScope.overwrite_default_scope('mmpretrain'):  # another library's inferencer may have set its own
            return super()._init_pipeline(cfg)

    @staticmethod
    def list_models(pattern: str | None = None) -> list[str]:
        """Names of our configs, ``mmmamba.apis.list_models``, those of detectors and segmentors as well."""
        return list_models(pattern)

    def predict(self, image: np.ndarray) -> DataSample:
        """The prediction for an image, (H, W, 3) uint8, BGR."""
        return self(image, return_datasamples=True)[0]

    def draw(self, image: np.ndarray, sample: DataSample, score_thr: float = 0.0) -> np.ndarray:
        """The image with class and score written on it, BGR; ``score_thr`` has no meaning here."""
        if self.visualizer is None:
            self.visualizer = UniversalVisualizer()
        rgb = image[..., ::-1]
        return self.visualizer.visualize_cls(rgb, sample, classes=self.classes, draw_gt=False)[..., ::-1]

    def describe(self, sample: DataSample, score_thr: float = 0.0) -> dict:
        """The best class and the scores of the five best."""
        scores, labels = sample.pred_score.topk(min(TOP, len(sample.pred_score)))
        best = [
            {'label': label, 'score': score, **({'class': self.classes[label]} if self.classes else {})}
            for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
        ]
        return {**best[0], 'top': best}
