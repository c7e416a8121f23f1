"""The parameters of K selective scans over maps, and the scan of a map along K routes with them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mmmamba.layers.weight_norm import add_weight_norm
from mmmamba.ops import selective_scan, selective_scan_2d
from mmmamba.scans import cached_tables


@dataclass(frozen=True)
class StateSpace:
    """What the selective scans of a mixer have in common.

    Args:
        d_state: size of the state per channel, N.
        dt_rank: rank R of the step size's projection.
        dropout: rate at which training drops the states of a sample, each along the whole sequence.
        weight_norm: normalise the rows of the projections.

    Raises:
        ValueError: if ``dropout`` is not a rate below 1.
    """

    d_state: int = 1
    dt_rank: int = 1
    dropout: float = 0.0
    weight_norm: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ValueError(f'state_dropout {self.dropout!r} is not in [0, 1)')


class SelectiveScans(nn.Module):
    """Base of what scans a map: ``add_scans`` gives it parameters, ``scan_along`` uses them."""

    normed = False  # True in a scan that norms its output itself: the mixer adds no norm
    reads_source = False  # True in a scan that also takes the map before the mixer's convolution

    def add_scans(self, channels: int, count: int, state: StateSpace) -> None:
        """Own the parameters of ``count`` selective scans over ``channels`` channels.

        Args:
            channels: E.
            count: K, the number of parameter sets.
            state: what they have in common.
        """
        rows = state.dt_rank + 2 * state.d_state
        self.state_dropout = state.dropout
        self.x_proj_weight = nn.Parameter(torch.empty(count, rows, channels))
        self.dt_proj_weight = nn.Parameter(torch.empty(count, channels, state.dt_rank))
        self.dt_proj_bias = nn.Parameter(torch.empty(count, channels))
        self.A_log = nn.Parameter(torch.empty(count, channels, state.d_state))
        self.D = nn.Parameter(torch.empty(count, channels))
        self.reset_scan_parameters()
        if state.weight_norm:
            add_weight_norm(self, 'x_proj_weight')
            add_weight_norm(self, 'dt_proj_weight')

    def reset_scan_parameters(self) -> None:
        """Start the projections uniformly and the state space as :func:`reset_state_space` does."""
        channels = self.x_proj_weight.shape[2]
        nn.init.uniform_(self.x_proj_weight, -(channels**-0.5), channels**-0.5)
        reset_state_space(self.dt_proj_weight, self.dt_proj_bias, self.A_log, self.D)

    def scan_along(
        self,
        x: Tensor,
        tables: Tensor,
        *,
        sets: slice | list[int] = slice(None),
        merge: bool = True,
        state_mask: Tensor | None = None,
    ) -> Tensor:
        """Scan a map along K routes.

        Args:
            x: (B, H, W, E), or (B, H, W, K * E) where each route has channels of its own.
            tables: (K, T) int64. The pixels that the routes visit, T of H * W or fewer.
            sets: which parameter sets the routes take, one each, or one for all.
            merge: sum the outputs of routes over the same channels.
            state_mask: what :meth:`draw_state_mask` gave, where several calls share a mask; None draws one.

        Returns:
            The shape of ``x``, or without ``merge`` (K, B, H, W, E); 0 at pixels that are not visited.
        """
        parameters = self.scan_parameters(sets, len(tables))
        state_mask = self.draw_state_mask(x) if state_mask is None else state_mask
        if state_mask is None:
            return selective_scan_2d(x, tables, *parameters, merge=merge)
        return _scan_with_mask(x, tables, *parameters, merge, state_mask)

    def scan_parameters(self, sets: slice | list[int], routes: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """x_proj_weight, dt_proj_weight, dt_proj_bias, A and D for ``routes`` routes."""
        stacked = (self.x_proj_weight, self.dt_proj_weight, self.dt_proj_bias, -torch.exp(self.A_log), self.D)
        chosen = sets if isinstance(sets, slice) else _indices(tuple(sets), self.A_log.device)
        return tuple(p[chosen].expand(routes, *p.shape[1:]) for p in stacked)

    def draw_state_mask(self, x: Tensor) -> Tensor | None:
        """In training with state dropout (B, N): 0 or ``1 / (1 - rate)`` for each state of each sample; else None."""
        if not self.training or self.state_dropout == 0:
            return None
        kept = 1 - self.state_dropout
        return torch.empty(x.shape[0], self.A_log.shape[2], device=x.device).bernoulli_(kept) / kept


@cached_tables
def _indices(sets: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(sets, device=device)  # a list as an index is copied to the device at every use


@torch.no_grad()
def reset_state_space(dt_proj_weight: Tensor, dt_proj_bias: Tensor, A_log: Tensor, D: Tensor) -> None:
    """Start state spaces: A = -(1..N), D = 1, steps log-uniform in [1e-3, 1e-1] (Mamba, section 3.6).

    Args:
        dt_proj_weight: (..., E, R).
        dt_proj_bias: (..., E).
        A_log: (..., E, N).
        D: (..., E).
    """
    rank, d_state = dt_proj_weight.shape[-1], A_log.shape[-1]
    nn.init.uniform_(dt_proj_weight, -(rank**-0.5), rank**-0.5)
    dt = torch.exp(torch.empty_like(dt_proj_bias).uniform_(math.log(1e-3), math.log(1e-1)))
    dt_proj_bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # inverse of softplus
    A_log.copy_(torch.log(torch.arange(1, d_state + 1, dtype=torch.float32)).expand_as(A_log))
    nn.init.ones_(D)


def _scan_with_mask(
    x: Tensor,
    tables: Tensor,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
    merge: bool,
    state_mask: Tensor,
) -> Tensor:
    """``selective_scan_2d`` with C times a mask, which its kernels do not know: gather, scan, scatter."""
    (routes, channels, d_state), dt_rank = A.shape, dt_proj_weight.shape[2]
    tokens = x.flatten(1, 2).unflatten(2, (-1, channels)).expand(-1, -1, routes, -1)  # (B, L, K, E)
    index = tables.T[None, :, :, None].expand(x.shape[0], -1, -1, channels)
    u = tokens.gather(1, index)  # (B, T, K, E)
    with torch.autocast(x.device.type, enabled=False):  # step sizes and states in fp32
        dtype = torch.promote_types(x.dtype, torch.float32)
        projected = torch.einsum('btke,kre->btkr', u.to(dtype), x_proj_weight.to(dtype))
        low_rank, B, C = projected.split([dt_rank, d_state, d_state], dim=-1)
        delta = torch.einsum('btkr,ker->btke', low_rank, dt_proj_weight.to(dtype))
        C = C * state_mask[:, None, None].to(dtype)
        y = selective_scan(
            *(u.flatten(2), delta.flatten(2), A.flatten(0, 1), B, C, D.flatten()),
            delta_bias=dt_proj_bias.flatten(),
            delta_softplus=True,
        )
    y = y.view(u.shape)
    out = y.new_zeros(tokens.shape).scatter(1, index, y).unflatten(1, x.shape[1:3])  # (B, H, W, K, E)
    if x.shape[3] == routes * channels:
        return out.flatten(3)
    return out.sum(3) if merge else out.movedim(3, 0)
