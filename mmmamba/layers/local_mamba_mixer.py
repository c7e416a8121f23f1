"""The mixer of LocalVim: Mamba along routes through the map, in windows or not, through one channel gate."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.channel_gate import ChannelGate
from mmmamba.layers.extra_tokens import insert_tokens, split_tokens
from mmmamba.layers.mamba_mixer import MambaBranch, resolve_dt_rank, scan_branches
from mmmamba.layers.scans.local import columns_read_as_rows, filled_up
from mmmamba.scans import Route, Scan, cached_tables


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
        x, z = self.in_proj(x).chunk(2, dim=-1)  # (B, L, C) -> 2 x (B, L, E)
        length, tables = x.shape[1], self._tables(grid, places, x.device)
        zeros = tables.shape[1] - length
        y = scan_branches(self.branches, F.pad(x, (0, 0, 0, zeros)) if zeros else x, tables)[:, :length]
        y = y * F.silu(z).unsqueeze(2)  # (B, L, K, E)
        if self.released_inverse and grid[0] != grid[1]:
            y = torch.stack([self._as_released(k, y[:, :, k], grid, places) for k in range(y.shape[2])], dim=2)
        y = self.gate(y, (1,))
        if self.route_logits is not None:
            y = self.route_logits.softmax(0)[:, None] * F.layer_norm(y, y.shape[-1:])
        return self.out_proj(y.sum(2, dtype=y.dtype))

    def _tables(self, grid: tuple[int, int], places: tuple[int, ...], device: torch.device) -> Tensor:
        """The routes through tokens, patches and the zeros behind them, (K, L + zeros)."""
        if not places and all(filled_up(route, *grid) == grid for route in self.routes.routes):
            return self.routes.tables(*grid, device=device)
        return _sequence_tables(self.routes.routes, grid, places, device)

    def _as_released(self, k: int, y: Tensor, grid: tuple[int, int], places: tuple[int, ...]) -> Tensor:
        """The output of route k, (B, L, E), put back as the released code does."""
        if 'transpose' not in self.routes.routes[k].modifiers:
            return y
        tokens, patches = split_tokens(y, places)
        return insert_tokens(columns_read_as_rows(patches.unflatten(1, grid)).flatten(1, 2), tokens, places)


@cached_tables
def _sequence_tables(
    routes: Sequence[Route], grid: tuple[int, int], places: tuple[int, ...], device: torch.device
) -> Tensor:
    """Routes over maps of whole windows, extra tokens at their places in each sequence: (K, L + zeros).

    Places in it: the L of patches and extra tokens, then the zeros that fill the largest of the maps. Those that are
    not in a route's own map follow behind its end, where they change nothing.
    """
    (h, w), sizes = grid, [filled_up(route, *grid) for route in routes]
    rows, cols = (max(sides) for sides in zip(*sizes, strict=True))
    length = h * w + len(places)
    sequence = torch.arange(length, device=device).view(1, length, 1)
    tokens, patches = split_tokens(sequence, places)
    filled = F.pad(patches.view(h, w), (0, cols - w, 0, rows - h), value=-1)
    filled = torch.where(filled < 0, length - 1 + (filled < 0).flatten().cumsum(0).view(rows, cols), filled)
    tables = []
    for route, (own_rows, own_cols) in zip(routes, sizes, strict=True):
        own = filled[:own_rows, :own_cols].flatten()
        table = own[Scan([route]).tables(own_rows, own_cols, device=device)[0]]
        table = insert_tokens(table.view(1, -1, 1), tokens, places).flatten()
        behind = torch.cat([filled[:own_rows, own_cols:].flatten(), filled[own_rows:].flatten()])
        tables.append(torch.cat([table, behind]))
    return torch.stack(tables)
