"""Random numbers that do not depend on what ran before."""

import numpy as np
from mmengine.hooks import Hook
from mmengine.runner import set_random_seed

from mmmamba.registry import HOOKS

DATA, MODEL = 0, 1


def reseed_data(runner, iteration: int) -> None:
    """Seed what the batch of an iteration draws."""
    _seed(runner, iteration, DATA)


@HOOKS.register_module()
class ReseedHook(Hook):
    """Seed every generator from (seed, iteration), once for the model and once for the batch that follows.

    A resumed run so draws the numbers of an uninterrupted one, also where validation or a killed epoch drew others in
    between. Workers of a dataloader have generators of their own, which start again with the workers.
    """

    priority = 'LOWEST'

    def before_train_epoch(self, runner) -> None:
        """Seed what the first batch draws."""
        reseed_data(runner, runner.iter)

    def before_train_iter(self, runner, batch_idx: int, data_batch: dict | tuple | list | None = None) -> None:
        """Seed what the model draws."""
        _seed(runner, runner.iter, MODEL)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Seed what the next batch draws."""
        reseed_data(runner, runner.iter + 1)

    def after_val_epoch(self, runner, metrics: dict | None = None) -> None:
        """Forget what validation drew."""
        reseed_data(runner, runner.iter)


def _seed(runner, iteration: int, stream: int) -> None:
    set_random_seed(int(np.random.SeedSequence([runner.seed, iteration, stream]).generate_state(1)[0]))
