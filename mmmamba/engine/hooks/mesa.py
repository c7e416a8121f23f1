"""MESA, memory-efficient sharpness-aware training: a model learns from the moving average of its weights."""

from mmengine.hooks import EMAHook, Hook

from mmmamba.engine.hooks.teacher import pupil
from mmmamba.errors import UserError
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class MESAHook(Hook):
    """Let a ``mmmamba.TaughtClassifier`` learn from the average that an EMAHook keeps, from a part of the training on.

    Args:
        begin: the part of all iterations after which the average teaches, 0 to 1.

    Raises:
        ValueError: if ``begin`` is not between 0 and 1.

    The loss is the head's: ``mmmamba.TeacherDivergenceLoss``. Its gradients do not reach the average.

    Source: Du et al., "Sharpness-Aware Training for Free" (2022).
    """

    def __init__(self, begin: float = 0.25) -> None:
        if not 0 <= begin <= 1:
            raise ValueError(f'MESAHook: begin {begin} is not between 0 and 1; it is a part of the whole training')
        self.begin = begin

    def before_train(self, runner) -> None:
        """Find the model and its average.

        Raises:
            UserError: if no hook keeps one, or the model cannot learn from it.
        """
        averages = [hook.ema_model.module for hook in runner.hooks if isinstance(hook, EMAHook)]
        if not averages:
            raise UserError("MESAHook: there is no average to learn from; add dict(type='EMAHook') to custom_hooks")
        self._model, self._average = pupil(runner), averages[0]

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        """Make the average the teacher where ``begin`` says."""
        begin = max(1, self.begin * runner.max_iters)  # the average is a model only after its first step
        if self._model.teacher is None and runner.iter >= begin:
            self._model.learn_from(self._average)
