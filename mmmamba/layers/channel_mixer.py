"""The selective channel mixer: Mamba along the channels of a map, both ways. Layout (B, H, W, C)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.mamba_mixer import MambaBranch, resolve_dt_rank
from mmmamba.ops import causal_conv1d, selective_scan


class SelectiveChannelMixer(nn.Module):
    """Channels as the steps of a sequence, positions as its features; (B, H, W, embed_dims) to the same shape.

    A Linear widens every pixel, a convolution and a selective scan run along the widened channels, once from the first
    to the last and once back, their sum is gated by a second half of the Linear and projected.

    A scan has a parameter for each of its features. Features are positions here, of which there are as many as the map
    has pixels: the parameters are learned for a grid of cells, and a pixel has those of the cells that it lies in; the
    projections read the means of the cells. On a map of just that grid nothing is interpolated.

    Args:
        embed_dims: C.
        ratio: width of the scanned sequence over ``embed_dims``.
        grid: rows and columns of cells.
        d_state: size of the state per position, N.
        d_conv: taps of the causal convolution.

    Source: Behrouz et al., "MambaMixer" (2024), section 3.2; the grid is ours, the paper ties a model to one size.
    """

    def __init__(
        self, embed_dims: int, *, ratio: float = 2.0, grid: int = 7, d_state: int = 16, d_conv: int = 4
    ) -> None:
        super().__init__()
        inner = int(ratio * embed_dims)
        cells = grid * grid
        self.grid = grid
        self.in_proj = nn.Linear(embed_dims, 2 * inner, bias=False)
        self.branches = nn.ModuleList(
            ChannelBranch(cells, d_state=d_state, dt_rank=resolve_dt_rank('auto', cells), d_conv=d_conv)
            for _ in range(2)  # forwards, backwards
        )
        self.out_proj = nn.Linear(inner, embed_dims, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x, z = self.in_proj(x).chunk(2, dim=-1)  # (B, H, W, C) -> 2 x (B, H, W, E)
        rows, cols = (cell_shares(size, self.grid, x.device) for size in x.shape[1:3])
        shares = torch.kron(rows, cols).to(self.out_proj.weight.dtype)  # (H * W, cells)
        steps = x.flatten(1, 2).transpose(1, 2)  # (B, H, W, E) -> (B, E, H * W)
        y = sum(branch(steps, shares, reverse=i == 1) for i, branch in enumerate(self.branches))
        y = y.transpose(1, 2).view(x.shape)
        return self.out_proj(y * F.silu(z))


class ChannelBranch(MambaBranch):
    """A branch whose channels are cells, run on positions that lie in them."""

    def forward(self, x: Tensor, shares: Tensor, reverse: bool = False) -> Tensor:
        """Convolve and scan.

        Args:
            x: (B, L, P).
            shares: (P, cells). How much of each position lies in each cell; rows sum to 1.
            reverse: from the last step to the first.

        Returns:
            (B, L, P).
        """
        of_cells = (self.conv.weight.squeeze(1), self.conv.bias, self.dt_proj_weight, self.dt_proj_bias)
        with torch.autocast(x.device.type, enabled=False):
            taps, bias, dt_weight, dt_bias, A_log, D = (shares @ p for p in (*of_cells, self.A_log, self.D))
        x = causal_conv1d(x, taps, bias, silu=True, reverse=reverse)
        d_state, dt_rank = self.A_log.shape[1], self.dt_proj_weight.shape[1]
        means = x @ (shares / shares.sum(0)).to(x.dtype)  # (B, L, P) -> (B, L, cells)
        low_rank, B, C = F.linear(means, self.x_proj_weight).split([dt_rank, d_state, d_state], dim=-1)
        return selective_scan(
            *(x, F.linear(low_rank, dt_weight), -torch.exp(A_log), B, C, D),
            delta_bias=dt_bias,
            delta_softplus=True,
            reverse=reverse,
        )


def cell_shares(size: int, cells: int, device: torch.device | str = 'cpu') -> Tensor:
    """(size, cells), fp64: the share of each of ``size`` pixels in a row that lies in each of as many equal cells.

    Every row sums to 1, every column to ``size / cells``, whichever is larger.
    """
    edges = torch.arange(cells + 1, dtype=torch.float64, device=device) * size / cells
    pixels = torch.arange(size, dtype=torch.float64, device=device)[:, None]
    return (torch.minimum(pixels + 1, edges[1:]) - torch.maximum(pixels, edges[:-1])).clamp(min=0)
