"""Multi-head self-attention over sequences."""

from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Softmax attention without position information, (B, L, embed_dims) to the same shape.

    Args:
        embed_dims: channels.
        num_heads: a divisor of ``embed_dims``.
        qkv_bias: whether the projection to queries, keys and values has a bias.

    Raises:
        ValueError: if the heads do not divide the channels.
    """

    def __init__(self, embed_dims: int, num_heads: int, *, qkv_bias: bool = True) -> None:
        super().__init__()
        if num_heads < 1 or embed_dims % num_heads:
            raise ValueError(f'num_heads {num_heads!r} must divide the {embed_dims} channels; choose a divisor')
        self.num_heads = num_heads
        self.qkv = nn.Linear(embed_dims, 3 * embed_dims, bias=qkv_bias)
        self.proj = nn.Linear(embed_dims, embed_dims)

    def forward(self, x: Tensor, queries: int | None = None) -> Tensor:
        """Attend from the first ``queries`` tokens, (B, queries, embed_dims), or from all."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (B, L, 3C) -> (B, L, 3, heads, C / heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (3, B, heads, L, C / heads)
        y = F.scaled_dot_product_attention(q[:, :, :queries], k, v)
        return self.proj(y.transpose(1, 2).flatten(2))
