"""Modules whose parameters a fused op may take over: nothing but what their type says happens in them."""

from torch import nn
from torch.nn.modules import module as torch_module


def are_plain(modules: tuple[nn.Module, ...], types: tuple[type, ...]) -> bool:
    """Whether each module is just what its type says: nobody has replaced it, nor hung a hook on it."""
    if torch_module._has_any_global_hook():
        return False
    return all(
        type(m) is expected and not (m._forward_hooks or m._forward_pre_hooks or m._backward_hooks)
        for m, expected in zip(modules, types, strict=True)
    )
