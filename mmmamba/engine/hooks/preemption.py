"""A run that is told to go leaves a checkpoint behind."""

import sys

import torch
from mmengine.dist import all_reduce, barrier
from mmengine.hooks import EMAHook, Hook

from mmmamba.engine.termination import EXIT_CODE
from mmmamba.registry import HOOKS


@HOOKS.register_module()
class PreemptionHook(Hook):
    """After a SIGTERM, save ``iter_N.pth`` at the end of the iteration and exit with 143, for ``--resume``.

    The ranks leave together, whichever of them got the signal. A validation is left at the end of its iteration; it is
    not repeated by the resumed run.
    """

    priority = 'LOWEST'  # when every other hook is done with the iteration
    _place = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Say where in its epoch the run is left."""
        checkpoint['meta'].update(self._place or {})

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Leave if asked to.

        Args:
            runner: the runner.
            batch_idx: number of the batch in its epoch.
            data_batch: what the data loader made.
            outputs: names and values of the log.

        Raises:
            SystemExit: once the checkpoint is written.
        """
        # Gradients that are being accumulated are in no checkpoint: wait for the step.
        if _requested(runner) and runner.optim_wrapper.should_update():
            self._leave(runner, runner.iter + 1, batches_done=batch_idx + 1)

    def before_val_epoch(self, runner) -> None:
        """Count the iterations that every rank has; a rank alone in a collective would wait for ever."""
        count = torch.tensor(float(len(runner.val_dataloader)), device=_device(runner))
        all_reduce(count, 'min')
        self._common = int(count)

    def after_val_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Leave if asked to.

        Args:
            runner: the runner.
            batch_idx: number of the batch.
            data_batch: what the data loader made.
            outputs: predictions.

        Raises:
            SystemExit: once the checkpoint is written.
        """
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        if any(getattr(hook, 'evaluate_on_origin', False) for hook in averages):
            return  # mmpretrain's validates twice, and does not say which weights are in the model now
        if batch_idx < self._common and _requested(runner):
            for average in averages:
                if getattr(average, 'evaluate_on_ema', True):
                    average._swap_ema_parameters()  # the model has the averaged weights while it is validated
            self._leave(runner, runner.iter, batches_done=0)

    def _leave(self, runner, step: int, batches_done: int) -> None:
        self._place = dict(epoch=runner.epoch, iter=step, batches_done=batches_done)
        runner.save_checkpoint(runner.work_dir, f'iter_{step}.pth', by_epoch=False)
        barrier()  # a launcher kills the others when the first rank is gone
        runner.logger.warning(f'SIGTERM: saved {runner.work_dir}/iter_{step}.pth; --resume goes on from there')
        sys.exit(EXIT_CODE)


def _device(runner) -> torch.device:
    return next(runner.model.parameters()).device


def _requested(runner) -> bool:
    requested = torch.tensor(float(runner.termination.requested), device=_device(runner))
    all_reduce(requested, 'max')  # the ranks get the signal at different times
    return bool(requested)
