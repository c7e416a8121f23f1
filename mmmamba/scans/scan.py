"""Scans: named lists of routes that a mixer walks over a map, and the words that modify a route."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from mmmamba.registry import SCANS

Route = Callable[[int, int], Tensor]

# Route sets of the field, outputs summed. Sources: Mamba (unidirectional), Vim (bidirectional), VMamba (cross).
NAMED_SCANS = {
    'unidirectional': ('raster',),
    'bidirectional': ('raster', 'raster.reverse'),
    'cross': ('raster', 'raster.transpose', 'raster.reverse', 'raster.transpose.reverse'),
}


def _reverse(route: Route) -> Route:
    return lambda h, w: route(h, w).flip(0)


def _transpose(route: Route) -> Route:
    """The route over the transposed (w x h) map, in pixels of the map as it is."""

    def transposed(h: int, w: int) -> Tensor:
        p = route(w, h)
        return p % h * w + p // h

    return transposed


MODIFIERS = {'reverse': _reverse, 'transpose': _transpose}


class Scan:
    """K routes over one map, whose outputs a mixer sums.

    Args:
        names: the routes, each ``base`` or ``base.modifier.modifier``, modifiers applied from left to right.

    Raises:
        ValueError: if a route or modifier is unknown, or there is none.
    """

    def __init__(self, names: Sequence[str]) -> None:
        if not names:
            raise ValueError('a scan needs at least one route, got an empty list')
        self.names = tuple(names)
        self._routes = tuple(_parse_route(name) for name in names)
        self._tables = lru_cache(maxsize=64)(self._build_tables)

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f'Scan({", ".join(self.names)})'

    def tables(self, h: int, w: int, device: torch.device | str = 'cpu') -> Tensor:
        """The routes over an ``h x w`` map: (K, h * w) int64, cached for the last 64 sizes and devices."""
        return self._tables(h, w, torch.device(device))

    def _build_tables(self, h: int, w: int, device: torch.device) -> Tensor:
        return torch.stack([route(h, w) for route in self._routes]).to(device)

    def __reduce__(self):  # the cache can be neither copied nor pickled
        return Scan, (self.names,)


def build_scan(scan: str | Sequence[str] | Scan) -> Scan:
    """A :class:`Scan` from what a config says: a scan's name, a route's name, or a list of routes.

    Args:
        scan: such as ``'cross'``, ``'raster.reverse'`` or ``['raster', 'raster.transpose']``.

    Raises:
        ValueError: if a name is unknown; the message lists those that exist.
        TypeError: if ``scan`` is none of these kinds.
    """
    if isinstance(scan, Scan):
        return scan
    if isinstance(scan, str):
        return Scan(NAMED_SCANS.get(scan, (scan,)))
    if isinstance(scan, Sequence) and all(isinstance(name, str) for name in scan):
        return Scan(scan)
    raise TypeError(f'scan {scan!r} is neither a name nor a list of route names; {_known_names()}')


def _parse_route(name: str) -> Route:
    base, *modifiers = name.split('.')
    if base not in SCANS.module_dict or not set(modifiers) <= set(MODIFIERS):
        raise ValueError(f'scan or route {name!r} is unknown; {_known_names()}')
    route = SCANS.module_dict[base]
    for modifier in modifiers:
        route = MODIFIERS[modifier](route)
    return route


def _known_names() -> str:
    routes = ', '.join(sorted(SCANS.module_dict))
    return f'scans: {", ".join(NAMED_SCANS)}; routes: {routes}, each with .{", .".join(MODIFIERS)}'
