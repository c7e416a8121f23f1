"""Losses in float32 under mixed precision, where box losses in half precision are known to end in NaN."""

from typing import Any

import torch
from torch import nn

HALF = (torch.float16, torch.bfloat16)


def compute_losses_in_fp32(model: nn.Module) -> None:
    """Let each loss of a model (its modules named ``loss*``, as in the three libraries) see float32 for half inputs.

    Args:
        model: a detector, segmentor or classifier, changed in place.
    """
    for name, module in model.named_modules():
        if name.rpartition('.')[2].startswith('loss'):
            module.register_forward_pre_hook(_upcast, with_kwargs=True)


def _upcast(module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    return tuple(map(_float32, args)), {name: _float32(value) for name, value in kwargs.items()}


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, torch.Tensor) and value.dtype in HALF else value
