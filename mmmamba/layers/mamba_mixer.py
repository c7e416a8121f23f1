"""The Mamba mixer of token sequences: project, causal convolution, selective scan, gate, project. Layout (B, L, C)."""

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.layers.scans.selective_scans import reset_state_space
from mmmamba.ops import causal_conv1d, selective_scan, selective_scan_2d

DIRECTIONS = ('forward', 'backward')


def resolve_dt_rank(dt_rank: int | str, embed_dims: int) -> int:
    """The rank of the step size's projection; ``'auto'`` is ``ceil(embed_dims / 16)``, of the tokens' width."""
    return math.ceil(embed_dims / 16) if dt_rank == 'auto' else dt_rank


class MambaBranch(nn.Module):
    """Convolution and gated scan of one order of the tokens: x and z (B, L, channels) to the same shape.

    Args:
        channels: E.
        d_state: size of the state per channel, N.
        dt_rank: rank R of the step size's projection.
        d_conv: taps of the causal convolution.
        conv_bias: whether the convolution has a bias.

    Source: Gu and Dao, "Mamba" (2023), section 3.4 and figure 3.
    """

    def __init__(self, channels: int, *, d_state: int, dt_rank: int, d_conv: int = 4, conv_bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, channels, d_conv, groups=channels, bias=conv_bias)  # padded by the op
        # Parameters, as in SS2D: a backbone that starts its nn.Linear layers anew leaves them alone.
        self.x_proj_weight = nn.Parameter(torch.empty(dt_rank + 2 * d_state, channels))
        self.dt_proj_weight = nn.Parameter(torch.empty(channels, dt_rank))
        self.dt_proj_bias = nn.Parameter(torch.empty(channels))
        self.A_log = nn.Parameter(torch.empty(channels, d_state))
        self.D = nn.Parameter(torch.empty(channels))
        nn.init.uniform_(self.x_proj_weight, -(channels**-0.5), channels**-0.5)
        reset_state_space(self.dt_proj_weight, self.dt_proj_bias, self.A_log, self.D)

    def forward(self, x: Tensor, z: Tensor | None, reverse: bool = False) -> Tensor:
        """Scan ``x`` and gate with ``z``, from the last token to the first if ``reverse``; the order stays."""
        x = causal_conv1d(x, self.conv.weight.squeeze(1), self.conv.bias, silu=True, reverse=reverse)
        d_state, dt_rank = self.A_log.shape[1], self.dt_proj_weight.shape[1]
        low_rank, B, C = F.linear(x, self.x_proj_weight).split([dt_rank, d_state, d_state], dim=-1)
        return selective_scan(
            *(x, F.linear(low_rank, self.dt_proj_weight), -torch.exp(self.A_log), B, C, self.D, z),
            delta_bias=self.dt_proj_bias,
            delta_softplus=True,
            reverse=reverse,
        )


def scan_branches(branches: Sequence[MambaBranch], x: Tensor, tables: Tensor) -> Tensor:
    """Convolution and scan of each branch along a route of its own, without gates; all in one launch each.

    Args:
        branches: K of them, one several times where routes share its parameters.
        x: (B, L, E).
        tables: (K, L) int64. The token at each step of a route, each token once.

    Returns:
        (B, L, K, E), what belongs to a token at its place.
    """

    def stacked(tensors: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(tensors)) if len(branches) > 1 else next(iter(tensors))[None]

    bias = None if branches[0].conv.bias is None else stacked(b.conv.bias for b in branches)
    x = causal_conv1d(x, stacked(b.conv.weight.squeeze(1) for b in branches), bias, silu=True, routes=tables)
    names = ('x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A_log', 'D')
    x_proj, dt_proj, dt_bias, A_log, D = (stacked(getattr(b, name) for b in branches) for name in names)
    y = selective_scan_2d(x.unsqueeze(1), tables, x_proj, dt_proj, dt_bias, -torch.exp(A_log), D)  # a map of one row
    return y.squeeze(1).unflatten(2, (len(branches), -1))


class MambaMixer(nn.Module):
    """Mamba over a token sequence in one or several directions, (B, L, embed_dims) to the same shape.

    One direction is the block of ``mamba_ssm``. ``('forward', 'backward')`` is the bidirectional mixer "v2" of Vim: the
    input and output projections are shared, the rest is per direction, x and its gate run the same way.

    Args:
        embed_dims: width of a token.
        d_state: size of the state per channel, N.
        expand: width of the scan over ``embed_dims``.
        d_conv: taps of the causal convolution.
        dt_rank: rank R of the step size's projection; ``auto`` is ``ceil(embed_dims / 16)``.
        conv_bias: whether the convolutions have a bias.
        bias: whether the input and output projections have one.
        directions: ``'forward'`` or ``'backward'``, one for each branch.
        average: divide the sum over the directions by their number (Vim's "div2").

    Raises:
        ValueError: if there is no direction or an unknown one.
    """

    def __init__(
        self,
        embed_dims: int,
        *,
        d_state: int = 16,
        expand: float = 2,
        d_conv: int = 4,
        dt_rank: int | str = 'auto',
        conv_bias: bool = True,
        bias: bool = False,
        directions: Sequence[str] = ('forward',),
        average: bool = False,
    ) -> None:
        super().__init__()
        if not directions or not set(directions) <= set(DIRECTIONS):
            raise ValueError(f'directions {tuple(directions)!r} must name at least one, of {DIRECTIONS}')
        inner = int(round(expand * embed_dims, 6))  # a ratio of two widths gives that width, whatever it rounds to
        rank = resolve_dt_rank(dt_rank, embed_dims)
        self.reverses = tuple(direction == 'backward' for direction in directions)
        self.scale = 1 / len(directions) if average else 1
        self.in_proj = nn.Linear(embed_dims, 2 * inner, bias=bias)
        self.branches = nn.ModuleList(
            MambaBranch(inner, d_state=d_state, dt_rank=rank, d_conv=d_conv, conv_bias=conv_bias) for _ in directions
        )
        self.out_proj = nn.Linear(inner, embed_dims, bias=bias)

    def forward(self, x: Tensor, reverse: bool = False) -> Tensor:
        """Mix the tokens, each direction turned round if ``reverse``; output t belongs to token t either way."""
        x, z = self.in_proj(x).chunk(2, dim=-1)  # (B, L, C) -> 2 x (B, L, E)
        runs = zip(self.branches, self.reverses, strict=True)
        y = sum(branch(x, z, reverse=reverse != backward) for branch, backward in runs)
        return self.out_proj(y if self.scale == 1 else y * self.scale)
