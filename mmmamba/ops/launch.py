"""Starting Triton kernels with less work for the host.

``kernel[grid](...)`` looks at every argument in Python and C++ to find the binary that serves it: 40 to 60 us for the
kernels here, more than many of them run. The binary depends on little: dtypes and alignment of tensors, which whole
numbers are 1 or divisible by 16, the constants. :func:`launch` finds a binary it has met by just that.
"""

from typing import Any

import triton
from torch import Tensor

from .backend import INTERPRETS_TRITON

# Binaries take their arguments, constants included, in the kernel's order since Triton 3.3.
_DIRECT = not INTERPRETS_TRITON and tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 3)

_binaries: dict[tuple, Any] = {}
_signatures: dict[Any, tuple[list[str], tuple[bool, ...]]] = {}


def launch(kernel: Any, grid: tuple[int, ...], *args: Tensor | int | float | None, num_warps: int = 4, **rest) -> None:
    """Run ``kernel`` on ``grid``.

    Args:
        kernel: a function under ``triton.jit``.
        grid: one to three sizes.
        args: the first arguments of the kernel.
        num_warps: of each program.
        rest: the other arguments by name.
    """
    if not _DIRECT:
        kernel[grid](*args, num_warps=num_warps, **rest)
        return
    signature = _signatures.get(kernel)
    if signature is None:
        signature = _signatures[kernel] = (kernel.arg_names, tuple(p.is_constexpr for p in kernel.params))
    names, constant = signature
    first = len(args)
    values = (*args, *[rest[name] for name in names[first:]])
    key = (
        kernel,
        num_warps,
        triton.runtime.driver.active.get_current_device(),
        *[v if c else _kind(v) for v, c in zip(values, constant, strict=True)],
    )
    binary = _binaries.get(key)
    if binary is None:
        _binaries[key] = kernel[grid](*args, num_warps=num_warps, **rest)
        return
    binary[(*grid, 1, 1)[:3]](*values)


def _kind(value: Tensor | int | float | None) -> Any:
    """What Triton compiles for: at least as fine as its own distinction."""
    if isinstance(value, Tensor):
        return value.dtype, value.data_ptr() % 16
    if isinstance(value, int):
        return value if value == 1 else (value % 16 == 0, -(2**31) <= value < 2**31)
    return type(value)
