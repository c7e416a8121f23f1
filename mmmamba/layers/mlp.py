"""Channel mixer of a transformer-like block."""

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
