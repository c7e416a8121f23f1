"""A gate over the channels of a map, from its mean."""

from torch import Tensor, nn
from torch.nn import functional as F

from .norm import LayerNorm


class ChannelGate(nn.Module):
    """``x * sigmoid(fc2(GELU(fc1(mean(LN(x))))))``, the mean over the pixels of (..., C); x itself stays un-normed.

    Source: "BiAttn" as released with LocalMamba and EfficientVMamba.
    """

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.norm = LayerNorm(channels, narrow=True)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor, pixels: tuple[int, ...] = (1, 2)) -> Tensor:
        """Gate a map (B, H, W, C), or several at once, whose pixels lie along the dimensions ``pixels``."""
        pooled = self.norm(x).mean(pixels, keepdim=True)  # (B, H, W, C) -> (B, 1, 1, C)
        return x * self.fc2(F.gelu(self.fc1(pooled))).sigmoid()
