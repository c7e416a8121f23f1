"""Adaptive scan: the content decides the order of the pixels, and which of them write to the state."""

import torch
from torch import Tensor, nn

from mmmamba.scans import SCAN_MODULES, build_scan

from .selective_scans import SelectiveScans, StateSpace
from .straight_through import straight_through


@SCAN_MODULES.register_module(name='adaptive')
class AdaptiveScan(SelectiveScans):
    """Pixels sorted by a learned score and scanned in both directions of that order.

    Args:
        channels: E.
        state: of the two scans.
        mask: leave out of the scan the pixels that a second learned score says; they pass by it.

    Neither sorting nor leaving out has a gradient. The score's is straight-through: what it would be if the score
    multiplied its pixel; the mask's that of its sigmoid. Tensors stay as they are in memory but for the sorted copy.
    (B, H, W, E) to the same shape.
    """

    def __init__(self, channels: int, state: StateSpace, *, mask: bool = True) -> None:
        super().__init__()
        self.routes = build_scan('bidirectional')
        self.add_scans(channels, len(self.routes), state)
        self.score = nn.Linear(channels, 1)
        self.mask = _LearnedMask(channels) if mask else None

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)  # (B, H, W, E) -> (B, L, E)
        written = tokens if self.mask is None else tokens * self.mask(tokens)
        score = self.score(tokens)
        order = score.detach().argsort(dim=1, stable=True).expand_as(tokens)
        along = (written * straight_through(score)).gather(1, order).unsqueeze(1)  # a map of one row, sorted
        y = self.scan_along(along, self.routes.tables(*along.shape[1:3], device=x.device)).squeeze(1)
        y = torch.zeros_like(y).scatter(1, order, y)
        return (y + (tokens - written)).view(x.shape)


class _LearnedMask(nn.Module):
    """(B, L, E) to (B, L, 1): 0 or 1, with the gradient of the sigmoid that decides it; starts at 1 for nearly all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels).normal_(std=0.02))
        self.bias = nn.Parameter(torch.ones(1))

    def forward(self, tokens: Tensor) -> Tensor:
        share = (tokens @ self.weight.to(tokens.dtype) + self.bias).sigmoid().unsqueeze(-1)
        return (share > 0.5).to(share.dtype) + share - share.detach()
