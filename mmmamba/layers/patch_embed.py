"""From an image (B, C, H, W) to a channels-last map (B, H', W', embed_dims)."""

from torch import Tensor, nn
from torch.nn import functional as F

from .norm import NORMS


class PatchEmbed(nn.Module):
    """One convolution whose stride is its kernel size, then a norm, LayerNorm as published (VMamba "v1", Swin).

    A last row or column of fewer than ``patch_size`` pixels is left out, as published; an image smaller than one patch
    is padded with zeros to one.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int = 4, norm: str = 'LN') -> None:
        super().__init__()
        self.patch_size = patch_size
        self.conv = nn.Conv2d(in_channels, embed_dims, patch_size, stride=patch_size)
        self.norm = NORMS[norm](embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        missing_rows, missing_cols = (max(0, self.patch_size - size) for size in x.shape[2:])
        x = self.conv(F.pad(x, (0, missing_cols, 0, missing_rows)))
        return self.norm(x.permute(0, 2, 3, 1))  # (B, C, H, W) -> (B, H, W, C)


class ConvStem(nn.Module):
    """Two 3x3 convolutions, norm and GELU between them, norm behind: LayerNorm as published (VMamba "v2").

    With ``patch_size`` 4 both have stride 2, with 2 the first only; sizes are rounded up.
    """

    def __init__(self, in_channels: int, embed_dims: int, patch_size: int = 4, norm: str = 'LN') -> None:
        super().__init__()
        if patch_size not in (2, 4):
            raise ValueError(f"patch_size {patch_size!r} of patch embedding 'v2' must be 2 or 4; 'v1' takes any")
        self.conv1 = nn.Conv2d(in_channels, embed_dims // 2, 3, stride=2, padding=1)
        self.norm1 = NORMS[norm](embed_dims // 2)
        self.act = nn.GELU()
        self.conv2 = nn.Conv2d(embed_dims // 2, embed_dims, 3, stride=patch_size // 2, padding=1)
        self.norm2 = NORMS[norm](embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm1(self.conv1(x).permute(0, 2, 3, 1)))  # (B, C, H, W) -> (B, H, W, C)
        return self.norm2(self.conv2(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
