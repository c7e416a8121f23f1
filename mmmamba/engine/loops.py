"""mmengine's two training loops, which go on within an epoch and past a batch that the NaN guard skips."""

from collections.abc import Sequence

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

from mmmamba.engine.hooks.nan_guard import SkippedBatchError
from mmmamba.engine.hooks.reseed import reseed_data
from mmmamba.registry import LOOPS


@LOOPS.register_module()
class EpochTrainLoop(EpochBasedTrainLoop):
    """Arguments: those of mmengine's EpochBasedTrainLoop."""

    batches_done = 0  # of the first epoch, by the run whose checkpoint was resumed; set by the runner

    def run_epoch(self) -> None:
        """Train one epoch; the batches of it that an interrupted run has seen are loaded and passed over."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            if idx < self.batches_done:
                reseed_data(self.runner, self._iter)  # for the batch that comes next, as in the interrupted run
            else:
                self.run_iter(idx, data_batch)
        self.batches_done = 0
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: Sequence[dict]) -> None:
        """Train on one batch, or leave it out where the NaN guard says so."""
        try:
            super().run_iter(idx, data_batch)
        except SkippedBatchError:
            self.runner.call_hook('after_train_iter', batch_idx=idx, data_batch=data_batch, outputs={})
            self._iter += 1


@LOOPS.register_module()
class IterTrainLoop(IterBasedTrainLoop):
    """Arguments: those of mmengine's IterBasedTrainLoop."""

    def run_iter(self, data_batch: Sequence[dict]) -> None:
        """Train on one batch, or leave it out where the NaN guard says so."""
        try:
            super().run_iter(data_batch)
        except SkippedBatchError:
            self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=data_batch, outputs={})
            self._iter += 1
