"""Continuous 2-D scan of PlainMamba: routes of neighbouring steps, and B told the direction of each step."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.ops import selective_scan
from mmmamba.scans import DIRECTIONS, SCAN_MODULES, Scan, directions

from .selective_scans import SelectiveScans, StateSpace

SNAKES = ('snake', 'snake.reverse', 'snake.transpose', 'snake.transpose.reverse')


@SCAN_MODULES.register_module(name='continuous')
class ContinuousScan(SelectiveScans):
    """Routes that share their parameters; a learned vector for the direction of each step is added to its B.

    Args:
        channels: E.
        state: of the scans.
        routes: names of routes.
        released: as the authors' code does, permute only the input, so that step t takes step size, B and C of pixel t,
            and count the bias of the step sizes twice.

    A route visits a pixel once, so that the direction of a step is one of its pixel, and B a projection of the channels
    with five more for each route that say which it is: the fused kernel serves. State dropout does not apply to
    ``released``.

    Source: Yang et al., "PlainMamba" (2024), section 3.2. (B, H, W, E) to the same shape.
    """

    def __init__(
        self, channels: int, state: StateSpace, *, routes: Sequence[str] = SNAKES, released: bool = False
    ) -> None:
        super().__init__()
        self.routes = Scan(routes)
        self.released = released
        self.add_scans(channels, 1, state)
        self.direction_B = nn.Parameter(torch.empty(len(DIRECTIONS), state.d_state))
        nn.init.trunc_normal_(self.direction_B, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        tables = self.routes.tables(*x.shape[1:3], device=x.device, redraw=self.training)
        codes = directions(tables, x.shape[2])
        return self._scan_released(x, tables, codes) if self.released else self._scan(x, tables, codes)

    def scan_parameters(self, sets: slice, routes: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """As they are, with ``routes`` times five channels more, of which route k reads its own five into B."""
        x_proj, dt_proj, dt_bias, A, D = super().scan_parameters(sets, routes)
        d_state, rank, more = A.shape[2], dt_proj.shape[2], routes * len(DIRECTIONS)
        to_B = F.pad(self.direction_B.T, (0, 0, rank, d_state))  # (N, 5) -> (R + 2N, 5)
        own = torch.eye(routes, device=to_B.device, dtype=to_B.dtype)
        to_B = torch.einsum('kj,rd->krjd', own, to_B).flatten(2)  # (K, R + 2N, K * 5)
        return (
            torch.cat([x_proj, to_B], dim=2),
            F.pad(dt_proj, (0, 0, 0, more)),
            F.pad(dt_bias, (0, more)),
            F.pad(A, (0, 0, 0, more), value=-1.0),
            F.pad(D, (0, more)),
        )

    def _scan(self, x: Tensor, tables: Tensor, codes: Tensor) -> Tensor:
        told = F.one_hot(codes, len(DIRECTIONS)).to(x.dtype)  # (K, L, 5)
        told = told.transpose(0, 1).reshape(1, *x.shape[1:3], -1).expand(x.shape[0], -1, -1, -1)
        return self.scan_along(torch.cat([x, told], dim=-1), tables)[..., : x.shape[-1]]

    def _scan_released(self, x: Tensor, tables: Tensor, codes: Tensor) -> Tensor:
        x_proj, dt_proj, dt_bias, A, D = (p[0] for p in super().scan_parameters(slice(None), 1))
        d_state, rank, routes = A.shape[1], dt_proj.shape[1], len(tables)
        tokens = x.flatten(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            dtype = torch.promote_types(x.dtype, torch.float32)
            projected = F.linear(tokens.to(dtype), x_proj.to(dtype))
            low_rank, B, C = projected.split([rank, d_state, d_state], dim=-1)
            delta = F.linear(low_rank, dt_proj.to(dtype))
            B = B.unsqueeze(2) + self.direction_B[codes.gather(1, tables).T].to(dtype)  # (B, L, K, N), by step
            y = selective_scan(
                *(tokens[:, tables.T].flatten(2), delta.repeat(1, 1, routes), A.repeat(routes, 1), B),
                *(C.unsqueeze(2).expand_as(B), D.repeat(routes)),
                delta_bias=2 * dt_bias.repeat(routes),
                delta_softplus=True,
            )
        y = y.unflatten(2, (routes, -1))  # (B, L, K * E) -> (B, L, K, E)
        return torch.zeros_like(y).scatter(1, tables.T[None, :, :, None].expand_as(y), y).sum(2).view(x.shape)
