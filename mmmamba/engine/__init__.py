"""Running a config: the runner, its hooks and the launcher behind ``tools/train.py`` and ``tools/test.py``."""

from mmmamba.engine.autocast import AutocastOptimWrapper
from mmmamba.engine.config import ConfigOptions
from mmmamba.engine.hooks import (
    CheckpointHook,
    LabelCheckHook,
    LoggerHook,
    NaNGuardHook,
    PreemptionHook,
    RankMeanLossHook,
    ReseedHook,
)
from mmmamba.engine.launch import evaluate, train
from mmmamba.engine.layer_decay import LayerDecayConstructor
from mmmamba.engine.loops import EpochTrainLoop, IterTrainLoop
from mmmamba.engine.one_line import one_line_errors
from mmmamba.engine.runner import Runner
from mmmamba.engine.sharding import FlexibleRunner, FSDPStrategy
from mmmamba.errors import UserError

__all__ = [
    'AutocastOptimWrapper',
    'CheckpointHook',
    'ConfigOptions',
    'EpochTrainLoop',
    'FSDPStrategy',
    'FlexibleRunner',
    'IterTrainLoop',
    'LabelCheckHook',
    'LayerDecayConstructor',
    'LoggerHook',
    'NaNGuardHook',
    'PreemptionHook',
    'RankMeanLossHook',
    'ReseedHook',
    'Runner',
    'UserError',
    'evaluate',
    'one_line_errors',
    'train',
]
