"""Hooks. The runner of this package always has them, but for FreezeRoutesHook, which a config asks for."""

from mmmamba.engine.hooks.checkpoint import CheckpointHook
from mmmamba.engine.hooks.freeze_routes import FreezeRoutesHook
from mmmamba.engine.hooks.label_check import LabelCheckHook
from mmmamba.engine.hooks.logger import LoggerHook
from mmmamba.engine.hooks.nan_guard import NaNGuardHook
from mmmamba.engine.hooks.preemption import PreemptionHook
from mmmamba.engine.hooks.rank_mean_loss import RankMeanLossHook
from mmmamba.engine.hooks.reseed import ReseedHook

__all__ = [
    'CheckpointHook',
    'FreezeRoutesHook',
    'LabelCheckHook',
    'LoggerHook',
    'NaNGuardHook',
    'PreemptionHook',
    'RankMeanLossHook',
    'ReseedHook',
]
