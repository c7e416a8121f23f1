"""Names of tensors in two layouts, and the way between them.

A key map is a list of ``(published, ours)`` pairs of patterns, tried in order. ``*`` stands for one number, a final
``**`` for the rest of the name; each stands for the same text on either side, so one list serves both directions.
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache

from torch import Tensor

from mmmamba.checkpoints.files import CheckpointError

Pairs = tuple[tuple[str, str], ...]


def rename(weights: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]], what: str) -> dict[str, Tensor]:
    """Rename every tensor by the first pair that fits it.

    Args:
        weights: names and tensors.
        pairs: ``(from, to)`` patterns.
        what: whose names these are, for the error message.

    Returns:
        The same tensors under their new names.

    Raises:
        CheckpointError: if no pair fits a name, or two tensors get the same name.
    """
    pairs = tuple(pairs)
    renamed, left_over = {}, []
    for name, tensor in weights.items():
        new = _apply(name, pairs)
        if new is None:
            left_over.append(name)
        elif new in renamed:
            raise CheckpointError(f'{what}: two tensors would be named {new!r}; the second is {name!r}')
        else:
            renamed[new] = tensor
    if left_over:
        raise CheckpointError(f'{what}: {len(left_over)} names have no place in the key map: {shortened(left_over)}')
    return renamed


def reverse(pairs: Iterable[tuple[str, str]]) -> Pairs:
    """The pairs for the other direction."""
    return tuple((new, old) for old, new in pairs)


def in_order_of(pairs: Pairs, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Sort tensors as the left sides of ``pairs`` list them: branches in order of first mention, numbers ascending."""
    first_mention: dict[str, int] = {}
    for rank, (pattern, _) in enumerate(pairs):
        parts = pattern.split('.')
        for depth in range(len(parts)):
            first_mention.setdefault('.'.join(parts[: depth + 1]), rank)

    def position(name: str) -> list[int]:
        pattern = next(old for old, _ in pairs if _regex(old).fullmatch(name))
        key = []
        # A pattern's last part may stand for several of the name's, and those do not order anything.
        for depth, (template, part) in enumerate(zip(pattern.split('.'), name.split('.'), strict=False)):
            key.append(int(part) if template == '*' else first_mention['.'.join(pattern.split('.')[: depth + 1])])
        return key

    return dict(sorted(weights.items(), key=lambda item: position(item[0])))


def shortened(names: Iterable[str], limit: int = 6) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    return ', '.join(names[:limit]) + (f', ... ({len(names) - limit} more)' if len(names) > limit else '')


def _apply(name: str, pairs: Pairs) -> str | None:
    for old, new in pairs:
        match = _regex(old).fullmatch(name)
        if match:
            values = iter(match.groups())
            return re.sub(r'\*\*?', lambda _: next(values), new)  # noqa: B023 (used up within this turn)
    return None


@cache
def _regex(pattern: str) -> re.Pattern:
    return re.compile(re.escape(pattern).replace(r'\*\*', '(.+)').replace(r'\*', r'(\d+)'))
