"""Channel mixers of a transformer-like block."""

from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, GELU (erf), Linear over the last dimension, ``(..., embed_dims)`` to the same shape."""

    def __init__(self, embed_dims: int, hidden_dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class ConvMlp(nn.Module):
    """Linear, depthwise 3x3 convolution, GELU (erf), Linear over channels-last maps, (B, H, W, C) to the same shape.

    Args:
        embed_dims: C.
        hidden_dims: width between the linear layers.
        residual: add what goes into the convolution to what comes out (MSVMamba); PVTv2 and those after it do not.
    """

    def __init__(self, embed_dims: int, hidden_dims: int, *, residual: bool = False) -> None:
        super().__init__()
        self.residual = residual
        self.fc1 = nn.Linear(embed_dims, hidden_dims)
        self.conv = nn.Conv2d(hidden_dims, hidden_dims, 3, padding=1, groups=hidden_dims)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden_dims, embed_dims)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        y = self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return self.fc2(self.act(x + y if self.residual else y))
