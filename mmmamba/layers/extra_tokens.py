"""Learned tokens among the patches of a sequence (B, L, C): class tokens and registers."""

import torch
from torch import Tensor, nn

PLACEMENTS = ('head', 'middle', 'tail', 'ends', 'even')


def token_places(placement: str | None, patches: int, count: int = 1) -> tuple[int, ...]:
    """Where extra tokens stand in the whole sequence, ascending.

    Args:
        placement: ``head`` (first), ``middle`` (behind half of the patches, rounded down), ``tail`` (last),
            ``ends`` (one first, one last), ``even`` (``count`` tokens, one behind each ``patches // (count + 1)``
            patches, as registers stand), or None: nowhere.
        patches: number of the others, M.
        count: of ``even``.

    Raises:
        ValueError: if the placement is unknown.
    """
    if placement is None:
        return ()
    if placement not in PLACEMENTS:
        raise ValueError(f'placement {placement!r} of extra tokens is not one of {PLACEMENTS} or None')
    gap = patches // (count + 1)
    even = tuple((i + 1) * gap + i for i in range(count))
    places = dict(head=(0,), middle=(patches // 2,), tail=(patches,), ends=(0, patches + 1), even=even)
    return places[placement]


def insert_tokens(x: Tensor, tokens: Tensor, places: tuple[int, ...]) -> Tensor:
    """Put ``tokens`` (B or 1, n, C) among ``x`` (B, M, C): (B, M + n, C), in which they stand at ``places``."""
    pieces, start = [], 0
    for i, place in enumerate(places):
        pieces += [x[:, start : place - i], tokens[:, i : i + 1].expand(len(x), -1, -1)]
        start = place - i
    return torch.cat([*pieces, x[:, start:]], dim=1)


def split_tokens(x: Tensor, places: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """The reverse of :func:`insert_tokens`: ``(tokens (B, n, C), the others (B, M, C))``."""
    starts, stops = (0, *(place + 1 for place in places)), (*places, x.shape[1])
    others = torch.cat([x[:, start:stop] for start, stop in zip(starts, stops, strict=True)], dim=1)
    return torch.cat([x[:, place : place + 1] for place in places] or [x[:, :0]], dim=1), others


class ExtraTokens(nn.Module):
    """Learned tokens at places that follow from the number of patches.

    Args:
        embed_dims: width of a token.
        placement: as in :func:`token_places`.
        count: number of tokens where the placement is ``even``.
    """

    def __init__(self, embed_dims: int, placement: str, count: int = 1) -> None:
        super().__init__()
        self.placement, self.count = placement, count
        self.weight = nn.Parameter(torch.empty(1, len(self.places(0)), embed_dims))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def places(self, patches: int) -> tuple[int, ...]:
        """Where they stand in a sequence with so many patches."""
        return token_places(self.placement, patches, self.count)

    def forward(self, x: Tensor) -> Tensor:
        """(B, M, C) to (B, M + n, C)."""
        return insert_tokens(x, self.weight, self.places(x.shape[1]))
