"""Hooks. FreezeRoutesHook, MESAHook and TeacherHook a config asks for; the runner always has the others."""

from mmmamba.engine.hooks.checkpoint import CheckpointHook
from mmmamba.engine.hooks.freeze_routes import FreezeRoutesHook
from mmmamba.engine.hooks.label_check import LabelCheckHook
from mmmamba.engine.hooks.logger import LoggerHook
from mmmamba.engine.hooks.mesa import MESAHook
from mmmamba.engine.hooks.nan_guard import NaNGuardHook
from mmmamba.engine.hooks.preemption import PreemptionHook
from mmmamba.engine.hooks.rank_mean_loss import RankMeanLossHook
from mmmamba.engine.hooks.reseed import ReseedHook
from mmmamba.engine.hooks.teacher import TeacherHook

__all__ = [
    'CheckpointHook',
    'FreezeRoutesHook',
    'LabelCheckHook',
    'LoggerHook',
    'MESAHook',
    'NaNGuardHook',
    'PreemptionHook',
    'RankMeanLossHook',
    'ReseedHook',
    'TeacherHook',
]
