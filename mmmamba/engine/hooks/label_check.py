"""Ground truth against the model's classes, before a wrong label ends in a CUDA assertion or a silent mistake."""

from collections.abc import Sequence

from mmengine.hooks import Hook

from mmmamba.engine.labels import check_batch, class_head
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class LabelCheckHook(Hook):
    """Stop before the first batch whose labels or boxes the model cannot take; costs a comparison a label."""

    def before_train(self, runner) -> None:
        """Find the head that predicts classes."""
        self._head = class_head(runner.model)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | tuple | list = None) -> None:
        """Check one batch.

        Args:
            runner: the runner.
            batch_idx: number of the batch.
            data_batch: what the data loader made.

        Raises:
            UserError: if a label is out of range or a box has no area.
        """
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        if self._head is not None and isinstance(samples, Sequence):  # semi-supervised ones are a dict of branches
            check_batch(samples, self._head)
