"""What the inferencers have in common: our names, safe checkpoints, and one image in, one picture and record out."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmmamba.apis.models import dataset_meta, load_checkpoint, resolve_config
from mmmamba.errors import UserError


class ImagePredictor(Protocol):
    """What all three inferencers offer beside the interface of their library. Images are (H, W, 3) uint8, BGR."""

    def predict(self, image: np.ndarray) -> BaseDataElement:
        """The prediction for one image."""

    def draw(self, image: np.ndarray, sample: BaseDataElement, score_thr: float) -> np.ndarray:
        """The image with the prediction on it, BGR; ``score_thr`` hides boxes with less."""

    def describe(self, sample: BaseDataElement, score_thr: float) -> dict:
        """The prediction as what JSON can hold."""


class NamedModels:
    """Mixin for inferencers of mmengine: ``model`` may be a name of ours, ``weights`` are read safely, strictly."""

    scope: str  # of the library's inferencer, as is the method that loads weights
    _load_weights_to_model: Callable[[nn.Module, dict, Config], None]

    def _load_model_from_metafile(self, model: str) -> tuple[Config, None]:
        return resolve_config(model), None

    def _init_model(self, cfg: Config, weights: str | None, device: str = 'cpu') -> nn.Module:
        if not cfg:
            raise UserError(
                'a config in a checkpoint is a program, which mmmamba does not run; name the model: model=CONFIG'
            )
        with DefaultScope.overwrite_default_scope(self.scope):
            model = revert_sync_batchnorm(MODELS.build(cfg.model))
        if weights is None:
            warnings.warn('no weights are given: predictions are those of a model that was not trained', stacklevel=4)
            checkpoint = dict(state_dict=model.state_dict(), meta={})
        else:
            checkpoint = load_checkpoint(model, weights)
        # The libraries would take the classes of COCO or Cityscapes where a file names none, as the authors' do.
        checkpoint['meta'].setdefault('dataset_meta', dataset_meta(cfg))
        self._load_weights_to_model(model, checkpoint, cfg)
        model.cfg = cfg
        return model.to(device).eval()


def build_inferencer(
    config: str | Path | Config, weights: str | None, *, device: str | torch.device | None = None
) -> ImagePredictor:
    """The inferencer of a config's library.

    Args:
        config: name of a config of ours, path of any, or a config.
        weights: path or address of a checkpoint.
        device: None takes a GPU if there is one.

    Raises:
        UserError: if there is no such config.
        CheckpointError: if the checkpoint cannot be read or does not fit.
    """
    from mmmamba import apis  # the libraries are imported with the inferencer that needs them

    cfg = resolve_config(config)
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    if cfg.default_scope == 'mmpretrain':
        return apis.ImageClassificationInferencer(cfg, weights or False, device=device)
    kind = apis.DetInferencer if cfg.default_scope == 'mmdet' else apis.MMSegInferencer
    return kind(cfg, weights, device=device, show_progress=False)
