"""Autocast inside an op that chooses its dtypes itself."""

import functools
from collections.abc import Callable

import torch


def without_autocast(function: Callable) -> Callable:
    """The function with autocast off: it would copy what already has the right dtype, at a cost for every call."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if not torch.is_autocast_enabled('cuda'):
            return function(*args, **kwargs)
        torch.set_autocast_enabled('cuda', False)
        try:
            return function(*args, **kwargs)
        finally:
            torch.set_autocast_enabled('cuda', True)

    return wrapper
