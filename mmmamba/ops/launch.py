"""Starting Triton kernels with little work for the host.

``kernel[grid](...)`` looks at every argument in Python and C++ to find the binary that serves it: 40 to 60 us for the
kernels here, more than many of them run. All numbers of a launch follow from sizes, and sizes come back in every step:
a :class:`Launch` is made once for them and holds the numbers ready. Starting it looks at the tensors alone.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch
import triton
from torch import Tensor

from .backend import INTERPRETS_TRITON

# Binaries take their arguments, constants included, in the kernel's order since Triton 3.3.
_DIRECT = not INTERPRETS_TRITON and tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 3)

_binaries: dict[tuple, Any] = {}

Made = TypeVar('Made')


def cached_by_size(make: Callable[..., Made]) -> Callable[..., Made]:
    """``make``, of sizes, dtypes and options, with its latest results kept: those of some hundred sizes of maps."""
    return lru_cache(4096)(make)


class Launch:
    """A kernel with its grid and with every argument that is not a tensor, to be called with the tensors.

    Args:
        kernel: a function under ``triton.jit`` that takes tensors first.
        grid: one to three sizes.
        num_warps: of each program.
        rest: the arguments behind the tensors, by name.
    """

    def __init__(self, kernel: Any, grid: tuple[int, ...], *, num_warps: int = 4, **rest: Any) -> None:
        self._kernel, self._grid, self._rest = kernel, grid, dict(rest, num_warps=num_warps)
        self._runners: dict[tuple, Callable] = {}
        if not _DIRECT:
            return
        self._values = [rest[name] for name in kernel.arg_names[-len(rest) :]]
        constant = [parameter.is_constexpr for parameter in kernel.params[-len(rest) :]]
        kinds = [v if c else _kind(v) for v, c in zip(self._values, constant, strict=True)]
        self._kinds = (id(kernel), num_warps, *kinds)

    def __call__(self, *tensors: Tensor | None) -> None:
        """Run on the device of the first tensor, on its current stream."""
        if not _DIRECT:
            self._kernel[self._grid](*tensors, **self._rest)
            return
        device = tensors[0].get_device()  # type: ignore[union-attr]
        if device != torch._C._cuda_getDevice():  # torch.cuda.current_device() asks four times whether CUDA has started
            with torch.cuda.device(device):
                self(*tensors)
            return
        pointers: list[int | None] = []
        kinds: list[Any] = [device]
        for tensor in tensors:
            if tensor is None:
                pointers.append(None)
                kinds.append(None)
            else:
                pointer = tensor.data_ptr()
                pointers.append(pointer)
                kinds += (tensor.dtype, pointer % 16)  # at least as fine as Triton's own distinction
        key = tuple(kinds)
        run = self._runners.get(key)
        if run is None:
            self._run_first(key, tensors, pointers)
        else:
            run(torch._C._cuda_getCurrentRawStream(device), *pointers, *self._values)

    def _run_first(self, key: tuple, tensors: tuple[Tensor | None, ...], pointers: list[int | None]) -> None:
        """Run on tensors of a new kind: by a binary that a launch of other sizes has met, or as Triton finds one."""
        binary = _binaries.get((self._kinds, key))
        if binary is None:
            binary = _binaries[self._kinds, key] = self._kernel[self._grid](*tensors, **self._rest)
        else:
            binary[(*self._grid, 1, 1)[:3]](*pointers, *self._values)
        self._runners[key] = _runner(binary, self._grid)


def _runner(binary: Any, grid: tuple[int, ...]) -> Callable[..., None]:
    """``binary[grid]``, for a stream and arguments, at half its cost: without the hooks of Triton's profiler."""
    run, function, metadata = binary.run, binary.function, binary.packed_metadata
    x, y, z = (*grid, 1, 1)[:3]
    return lambda stream, *arguments: run(x, y, z, stream, function, metadata, None, None, None, *arguments)


def _kind(value: int | float | None) -> Any:
    """What Triton compiles for: at least as fine as its own distinction."""
    if isinstance(value, int):
        return value if value == 1 else (value % 16 == 0, -(2**31) <= value < 2**31)
    return type(value)
