"""The logged loss of a distributed run."""

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import Hook

from mmmamba.registry import HOOKS


@HOOKS.register_module()
class RankMeanLossHook(Hook):
    """Log the mean of the losses over the ranks, that of the global batch, where mmengine would log those of rank 0."""

    priority = 'HIGHEST'  # before RuntimeInfoHook hands them to the log

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs: dict | None = None) -> None:
        """Average the logged values of one iteration.

        Args:
            runner: the runner.
            batch_idx: number of the batch.
            data_batch: what the data loader made.
            outputs: names and values of the log, changed in place.
        """
        if get_world_size() == 1 or not outputs:
            return
        values = torch.stack([torch.as_tensor(value).detach().float().mean() for value in outputs.values()])
        dist.all_reduce(values)
        outputs.update(zip(outputs, values / get_world_size(), strict=True))
