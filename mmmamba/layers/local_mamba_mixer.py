"""The mixer of LocalVim: Mamba along routes through the map, in windows or not, through one channel gate."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.channel_gate import ChannelGate
from mmmamba.layers.extra_tokens import insert_tokens, split_tokens
from mmmamba.layers.mamba_mixer import MambaBranch, resolve_dt_rank
from mmmamba.layers.scans.local import columns_read_as_rows
from mmmamba.scans import Scan


class LocalMambaMixer(nn.Module):
    """Routes with a convolution and a scan of their own, between shared projections; (B, L, embed_dims) to the same.

    Windows at the right and bottom edge are filled up with zeros behind the input projection, which take part in the
    scan. Extra tokens are taken out, put at their places in the sequence of every route, and back.

    Args:
        embed_dims: width of a token.
        routes: names of routes.
        search: norm each output without parameters and weigh it by the softmax of a learned logit.
        released_inverse: put the outputs of column-major routes back as the released code does: read as rows, not as
            columns. The same on a square map; on others it scrambles them.
        d_state, expand, d_conv, dt_rank, conv_bias, bias: as in :class:`MambaMixer`.

    Source: Huang et al., "LocalMamba" (2024), sections 3.2 to 3.4.
    """

    def __init__(
        self,
        embed_dims: int,
        routes: Sequence[str],
        *,
        search: bool = False,
        released_inverse: bool = False,
        d_state: int = 16,
        expand: float = 2,
        d_conv: int = 4,
        dt_rank: int | str = 'auto',
        conv_bias: bool = True,
        bias: bool = False,
    ) -> None:
        super().__init__()
        inner, rank = int(expand * embed_dims), resolve_dt_rank(dt_rank, embed_dims)
        self.routes = Scan(routes)
        self.released_inverse = released_inverse
        self.in_proj = nn.Linear(embed_dims, 2 * inner, bias=bias)
        self.branches = nn.ModuleList(
            MambaBranch(inner, d_state=d_state, dt_rank=rank, d_conv=d_conv, conv_bias=conv_bias) for _ in routes
        )
        self.gate = ChannelGate(inner)
        self.route_logits = nn.Parameter(1e-3 * torch.randn(len(routes))) if search else None
        self.out_proj = nn.Linear(inner, embed_dims, bias=bias)

    def forward(self, x: Tensor, grid: tuple[int, int], places: tuple[int, ...] = ()) -> Tensor:
        """Mix the tokens of a map of ``grid`` and the extra tokens at ``places``."""
        tokens, patches = split_tokens(self.in_proj(x), places)  # (B, n, 2E), (B, H * W, 2E)
        x = patches.unflatten(1, grid)
        outputs = [self._along(k, x, tokens, places) for k in range(len(self.branches))]
        gated = [self.gate(y[:, :, None])[:, :, 0] for y in outputs]  # a map of one column
        if self.route_logits is None:
            return self.out_proj(sum(gated))
        weights = self.route_logits.softmax(0)
        return self.out_proj(sum(w * F.layer_norm(y, y.shape[-1:]) for w, y in zip(weights, gated, strict=True)))

    def _along(self, k: int, x: Tensor, tokens: Tensor, places: tuple[int, ...]) -> Tensor:
        """The output of route k: (B, H, W, 2E) and (B, n, 2E) to (B, L, E)."""
        route, (h, w) = self.routes.routes[k], x.shape[1:3]
        size = (route.parameters or (7,))[0] if route.base == 'window' else 1
        x = F.pad(x, (0, 0, 0, -w % size, 0, -h % size))
        padded = x.shape[1:3]
        order = Scan([route]).tables(*padded, device=x.device)[0]
        sequence = insert_tokens(x.flatten(1, 2)[:, order], tokens, places)
        y_tokens, y = split_tokens(self.branches[k](*sequence.chunk(2, dim=-1)), places)
        y = y[:, order.argsort()].unflatten(1, padded)[:, :h, :w]
        if self.released_inverse and 'transpose' in route.modifiers:
            y = columns_read_as_rows(y)
        return insert_tokens(y.flatten(1, 2), y_tokens, places)
