"""Squeeze and excitation: a gate over the channels of a map, from the mean of that map or of another."""

from torch import Tensor, nn
from torch.nn import functional as F


class SqueezeExcite(nn.Module):
    """``x * sigmoid(fc2(ReLU(fc1(mean(source)))))`` over maps (B, H, W, C).

    Args:
        channels: C.
        hidden: width between the two layers.
        bias: whether they have biases.

    Source: Hu et al., "Squeeze-and-Excitation Networks" (2018).
    """

    def __init__(self, channels: int, hidden: int, *, bias: bool = True) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden, bias=bias)
        self.fc2 = nn.Linear(hidden, channels, bias=bias)

    def forward(self, x: Tensor, source: Tensor | None = None) -> Tensor:
        pooled = (x if source is None else source).mean((1, 2), keepdim=True)  # (B, H, W, C) -> (B, 1, 1, C)
        return x * self.fc2(F.relu(self.fc1(pooled))).sigmoid()
