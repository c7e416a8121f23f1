"""Casts of weights and of their gradients, and matrix products over all pixels, in few launches."""

from collections.abc import Iterator

import torch
from torch import Tensor

# Since torch 2.8 a product of narrow matrices can be written in fp32, which is what it was summed in.
_WRITES_FP32 = hasattr(torch.ops.aten.mm, 'dtype')


def in_dtype(dtype: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
    """The weights in ``dtype``, in one launch. Not kept between calls: weights may be swapped for averages."""
    if all(weight.dtype == dtype for weight in weights):
        return weights
    copies = tuple(torch.empty_like(weight, dtype=dtype) for weight in weights)
    torch._foreach_copy_(copies, weights)
    return copies


def in_dtypes_of(dtypes: list[torch.dtype | None], gradients: tuple[Tensor | None, ...]) -> Iterator[Tensor | None]:
    """Each gradient in the dtype of its parameter, None where there is none."""
    for gradient, dtype in zip(gradients, dtypes, strict=True):
        yield gradient if gradient is None or gradient.dtype == dtype else gradient.to(dtype)


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """(rows, M), (rows, N) to ``a.T @ b`` (M, N), in fp32 where the device writes that, else in the dtype of both."""
    if _WRITES_FP32 and a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a.t(), b, out_dtype=torch.float32)
    return torch.mm(a.t(), b)
