"""Which implementation of an op runs: an argument, a context manager or ``MMMAMBA_BACKEND`` says, else ``auto``."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch

BACKENDS = ('numba', 'torch', 'reference')
HAS_NUMBA = find_spec('numba') is not None

# Read once: ``torch.compile`` traces through the choice and cannot trace an environment look-up.
_preferred = os.environ.get('MMMAMBA_BACKEND', 'auto')


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Run every op inside the ``with`` block on one backend.

    Args:
        name: ``numba`` (CPU), ``torch`` (any device), ``reference`` (fp64 loop, any device, slow) or ``auto``.

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
        ``numba``, ``torch`` or ``reference``.

    Raises:
        ValueError: if the name is unknown or the backend does not serve the device.
        ModuleNotFoundError: if ``numba`` is asked for and not installed.
    """
    if name == 'auto':
        name = _preferred
    _check_name(name)
    if name == 'auto':
        return 'numba' if device.type == 'cpu' and HAS_NUMBA else 'torch'
    if name == 'numba' and device.type != 'cpu':
        raise ValueError(f"backend 'numba' runs on the CPU, but the tensors are on {device}; use 'auto' or 'torch'")
    if name == 'numba' and not HAS_NUMBA:
        raise ModuleNotFoundError("backend 'numba' needs the package numba: pip install numba, or use 'torch'")
    return name


def _check_name(name: str) -> None:
    if name != 'auto' and name not in BACKENDS:
        known = ', '.join(('auto', *BACKENDS))
        raise ValueError(f'backend {name!r} (argument, use_backend or MMMAMBA_BACKEND) is not one of {known}')
