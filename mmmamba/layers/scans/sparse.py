"""Sparse scan: only the pixels of the highest learned scores are scanned, the others pass by."""

import math

from torch import Tensor, nn

from mmmamba.scans import SCAN_MODULES, build_scan

from .selective_scans import SelectiveScans, StateSpace
from .straight_through import straight_through


@SCAN_MODULES.register_module(name='sparse')
class SparseScan(SelectiveScans):
    """The share ``keep`` of an image's pixels, rounded up, in raster order and back; what they give is put in place.

    The score's gradient is straight-through, as if it multiplied what the scan gives for its pixel.
    (B, H, W, E) to the same shape.

    Args:
        channels: E.
        state: of the two scans.
        keep: share of the pixels that are scanned, above 0 and up to 1.

    Raises:
        ValueError: if ``keep`` is no such share.
    """

    def __init__(self, channels: int, state: StateSpace, *, keep: float = 0.5) -> None:
        super().__init__()
        if not isinstance(keep, (int, float)) or not 0 < keep <= 1:
            raise ValueError(f"scan 'sparse': keep {keep!r} is no share above 0 and up to 1")
        self.keep = keep
        self.routes = build_scan('bidirectional')
        self.add_scans(channels, len(self.routes), state)
        self.score = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(1, 2)  # (B, H, W, E) -> (B, L, E)
        score = self.score(tokens)
        chosen = score.detach().topk(math.ceil(self.keep * tokens.shape[1]), dim=1).indices.sort(dim=1).values
        score, chosen = score.gather(1, chosen), chosen.expand(-1, -1, tokens.shape[2])
        along = tokens.gather(1, chosen).unsqueeze(1)  # a map of one row
        y = self.scan_along(along, self.routes.tables(*along.shape[1:3], device=x.device)).squeeze(1)
        return tokens.scatter(1, chosen, (y * straight_through(score)).to(tokens.dtype)).view(x.shape)
