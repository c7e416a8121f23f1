"""EinFFT, the channel mixer of SiMBA: two complex linear layers between Fourier transforms."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class EinFFT(nn.Module):
    """Mix channels in the frequencies of a map, (B, H, W, embed_dims) to the same shape.

    The channels are cut into blocks. As released a 2-D transform runs over the pixels, in raster order, and the blocks;
    at every frequency each block has two complex linear layers, ReLU between them, on real and imaginary parts apart,
    and a soft shrinkage behind them. What is left imaginary after the transform back is dropped.

    Args:
        embed_dims: a multiple of ``blocks``.
        blocks: number of blocks.
        shrinkage: below it a part of a coefficient becomes 0.

    Raises:
        ValueError: if the blocks do not divide the channels.

    Source: Patro and Agneeswaran, "SiMBA" (2024), section 3.1.
    """

    def __init__(self, embed_dims: int, *, blocks: int = 4, shrinkage: float = 0.01) -> None:
        super().__init__()
        if embed_dims % blocks:
            raise ValueError(f'embed_dims {embed_dims} is not a multiple of the {blocks} blocks of EinFFT')
        size = embed_dims // blocks
        self.shrinkage = shrinkage
        self.weight1 = nn.Parameter(0.02 * torch.randn(2, blocks, size, size))  # real, imaginary
        self.weight2 = nn.Parameter(0.02 * torch.randn(2, blocks, size, size))
        self.bias1 = nn.Parameter(0.02 * torch.randn(2, blocks, size))
        self.bias2 = nn.Parameter(0.02 * torch.randn(2, blocks, size))

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # there are no complex bf16 numbers
            wide = x.to(torch.promote_types(x.dtype, torch.float32)).flatten(1, 2)
            wide = wide.unflatten(2, (self.bias1.shape[1], -1))  # (B, H, W, C) -> (B, L, blocks, size)
            spectrum = torch.fft.fft2(wide, dim=(1, 2), norm='ortho')
            parts = F.relu(_complex_linear(torch.stack([spectrum.real, spectrum.imag]), self.weight1, self.bias1))
            parts = F.softshrink(_complex_linear(parts, self.weight2, self.bias2), self.shrinkage)
            y = torch.fft.ifft2(torch.complex(*parts.unbind(0)), dim=(1, 2), norm='ortho').real
        return y.reshape(x.shape).to(x.dtype)


def _complex_linear(parts: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Real and imaginary parts (2, B, L, blocks, size), weight (2, blocks, size, size), bias (2, blocks, size)."""
    rr, ri, ir, ii = (torch.einsum('blkd,kde->blke', part, w) for part in parts for w in weight)
    return torch.stack([rr - ii + bias[0], ri + ir + bias[1]])
