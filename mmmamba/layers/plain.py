"""Modules whose parameters a fused op may take over: nothing but what their type says happens in them."""

from torch import Tensor, nn
from torch.nn.modules import module as torch_module


def are_plain(modules: tuple[nn.Module, ...], types: tuple[type, ...]) -> bool:
    """Whether each module is just what its type says: nobody has replaced it, nor hung a hook on it."""
    if torch_module._has_any_global_hook():
        return False
    for m, expected in zip(modules, types, strict=True):
        if type(m) is not expected or m._forward_hooks or m._forward_pre_hooks or m._backward_hooks:
            return False
    return True


def members_of(module: nn.Module, *names: str) -> list[nn.Module | None]:
    """The submodules of these names, None where there is none; as :func:`parameters_of`, without ``getattr``."""
    return [module._modules.get(name) for name in names]


def parameters_of(module: nn.Module, *names: str) -> list[Tensor | None]:
    """``getattr`` for each name, without the microsecond in which ``nn.Module`` looks elsewhere for it first."""
    own = module._parameters
    return [own[name] if name in own else getattr(module, name) for name in names]
