"""Matrix products over all pixels."""

import torch
from torch import Tensor

# Since torch 2.8 a product of narrow matrices can be written in fp32, which is what it was summed in.
_WRITES_FP32 = hasattr(torch.ops.aten.mm, 'dtype')


def product_over_rows(a: Tensor, b: Tensor) -> Tensor:
    """(rows, M), (rows, N) to ``a.T @ b`` (M, N), in fp32 where the device writes that, else in the dtype of both."""
    if _WRITES_FP32 and a.is_cuda and a.dtype != torch.float32:
        return torch.mm(a.t(), b, out_dtype=torch.float32)
    return torch.mm(a.t(), b)
