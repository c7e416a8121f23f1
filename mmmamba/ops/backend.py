"""Which implementation of an op runs: an argument, a context manager or ``MMMAMBA_BACKEND`` says, else ``auto``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import Tensor

BACKENDS = ('numba', 'triton', 'torch', 'reference')
HAS_NUMBA = find_spec('numba') is not None
HAS_TRITON = find_spec('triton') is not None

# Read once: ``torch.compile`` traces through the choice and cannot trace an environment look-up.
_preferred = os.environ.get('MMMAMBA_BACKEND', 'auto')
INTERPRETS_TRITON = os.environ.get('TRITON_INTERPRET') == '1'


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every op inside the ``with`` block on one backend.

    Args:
        name: ``numba`` (CPU), ``triton`` (CUDA), ``torch`` (any device), ``reference`` (fp64 loop, any device, slow)
            or ``auto``.

    Raises:
        ValueError: if ``name`` is none of these.
    """
    global _preferred
    _check_name(name)
    before, _preferred = _preferred, name
    try:
        yield
    finally:
        _preferred = before


def resolve_backend(name: str, device: torch.device) -> str:
    """The backend that serves ``device``: ``name``, or with ``auto`` the preferred one, or else the fastest there is.

    Args:
        name: the op's ``backend`` argument.
        device: where the op's tensors live.

    Returns:
        ``numba``, ``triton``, ``torch`` or ``reference``.

    Raises:
        ValueError: if the name is unknown or the backend does not serve the device.
        ModuleNotFoundError: if ``numba`` or ``triton`` is asked for and not installed.
    """
    if name == 'auto':
        name = _preferred
    _check_name(name)
    if name == 'auto':
        if device.type == 'cpu' and HAS_NUMBA:
            return 'numba'
        return 'triton' if device.type == 'cuda' and HAS_TRITON else 'torch'
    if name == 'numba' and device.type != 'cpu':
        raise ValueError(f"backend 'numba' runs on the CPU, but the tensors are on {device}; use 'auto' or 'torch'")
    if name == 'numba' and not HAS_NUMBA:
        raise ModuleNotFoundError("backend 'numba' needs the package numba: pip install numba, or use 'torch'")
    if name == 'triton' and not HAS_TRITON:
        raise ModuleNotFoundError("backend 'triton' needs the package triton: pip install triton, or use 'torch'")
    if name == 'triton' and device.type != 'cuda' and not INTERPRETS_TRITON:
        raise ValueError(
            f"backend 'triton' runs on CUDA, but the tensors are on {device}; use 'auto' or 'torch', or set "
            'TRITON_INTERPRET=1 before Python starts to run its kernels on the CPU, slowly'
        )
    return name


def needs_grad(*tensors: Tensor | None) -> bool:
    """Whether autograd will ask for a gradient of any of the tensors, so that saving states for it pays."""
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _check_name(name: str) -> None:
    if name != 'auto' and name not in BACKENDS:
        known = ', '.join(('auto', *BACKENDS))
        raise ValueError(f'backend {name!r} (argument, use_backend or MMMAMBA_BACKEND) is not one of {known}')
