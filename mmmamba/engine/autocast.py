"""Mixed precision without loss scaling, which bf16 does not need; mmengine's own wrapper refuses to run on a CPU."""

from contextlib import contextmanager

import torch
from mmengine.device import get_device
from mmengine.optim import OptimWrapper
from torch import nn

from mmmamba.registry import OPTIM_WRAPPERS


@OPTIM_WRAPPERS.register_module()
class AutocastOptimWrapper(OptimWrapper):
    """Run the forward pass under autocast, on any device.

    Args:
        optimizer: the optimizer to wrap.
        dtype: name of the torch dtype of the matrix products.
        **kwargs: those of mmengine's ``OptimWrapper``.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, dtype: str = 'bfloat16', **kwargs):
        super().__init__(optimizer, **kwargs)
        self.dtype = getattr(torch, dtype)

    @contextmanager
    def optim_context(self, model: nn.Module):
        """Enter autocast and, while gradients accumulate, hold back their synchronisation."""
        with super().optim_context(model), torch.autocast(get_device(), dtype=self.dtype):
            yield
