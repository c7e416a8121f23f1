"""Scans that are a list of routes: a mixer walks each with its own parameters and sums the outputs, or averages them.

Scans that merge otherwise are modules in ``mmmamba.layers.scans``.
"""

from collections.abc import Sequence

import torch
from mmengine.registry import Registry
from torch import Tensor

from .modifiers import MODIFIERS
from .route import Route, UnknownRouteError, known_routes, parse_route, route_tables

# Scans with parameters of their own merge, in mmmamba.layers.scans.
SCAN_MODULES = Registry('scan with its own merge', scope='mmmamba', locations=['mmmamba.layers'])
# Scans that the layers of a backbone take in turn. Mamba-ND: rows and columns, forwards and backwards, or on clips the
# orders (t, h, w), (t, w, h) and (w, h, t), slowest axis first; ZigMa: the eight snakes; FractalMamba: the Hilbert
# curve and its shifted form.
NAMED_SCHEDULES = {
    'mamba_nd': ('raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse'),
    'mamba_nd_3d': (
        *('raster_3d', 'raster_3d.reverse', 'raster_3d.transpose', 'raster_3d.transpose.reverse'),
        *('raster_3d.temporal.transpose', 'raster_3d.temporal.transpose.reverse'),
    ),
    'zigma': (
        *('snake', 'snake.rotate180', 'snake.transpose', 'snake.antitranspose'),
        *('snake.flip_h', 'snake.flip_v', 'snake.rotate90', 'snake.rotate270'),
    ),
    'fractal': ('hilbert_cross', 'hilbert_shifted_cross'),
}
# Scans that differ between layers; ``schedule.py`` says what each layer gets.
SCHEDULES = ('alternating', 'per_layer', 'per_stage', 'hierarchical', *NAMED_SCHEDULES)

# Route sets of the field, outputs summed. Sources: Mamba (unidirectional), Vim (bidirectional), VMamba (cross),
# RS-Mamba (omnidirectional), FractalMamba (the two hilbert ones, which its layers take in turn), VideoMamba.
NAMED_SCANS = {
    'unidirectional': ('raster',),
    'bidirectional': ('raster', 'raster.reverse'),
    'cross': ('raster', 'raster.transpose', 'raster.reverse', 'raster.transpose.reverse'),
    'rotations': ('raster', 'raster.rotate90', 'raster.rotate180', 'raster.rotate270'),
    'omnidirectional': (
        *('raster', 'raster.transpose', 'raster.reverse', 'raster.transpose.reverse'),
        *('wrapped_diagonal', 'wrapped_antidiagonal', 'wrapped_diagonal.reverse', 'wrapped_antidiagonal.reverse'),
    ),
    'hilbert_cross': ('hilbert', 'hilbert.transpose', 'hilbert.reverse', 'hilbert.transpose.reverse'),
    'hilbert_shifted_cross': (
        *('hilbert_shifted', 'hilbert_shifted.transpose'),
        *('hilbert_shifted.reverse', 'hilbert_shifted.transpose.reverse'),
    ),
    'bidirectional_3d': ('raster_3d', 'raster_3d.reverse'),
    'spatiotemporal': ('raster_3d', 'raster_3d.reverse', 'raster_3d.temporal'),
}
AVERAGED_SCANS = ('spatiotemporal',)  # Vivim
MERGES = ('sum', 'mean')


class Scan:
    """K routes over one map or volume, whose outputs a mixer merges.

    Args:
        routes: names or dicts, as :func:`parse_route` reads them.
        merge: ``sum`` or ``mean``.

    Raises:
        ValueError: if a route or the merge is unknown, there is no route, or some are over maps, others in volumes.
    """

    def __init__(self, routes: Sequence[str | dict | Route], merge: str = 'sum') -> None:
        if not routes:
            raise ValueError('a scan needs at least one route, got an empty list')
        if merge not in MERGES:
            raise ValueError(f'merge {merge!r} of a scan is not one of {", ".join(MERGES)}')
        self.routes = tuple(parse_route(route) for route in routes)
        self.names = tuple(route.name for route in self.routes)
        self.axes = self.routes[0].axes  # 2 for maps, 3 for volumes
        self.merge = merge
        if len({route.axes for route in self.routes}) > 1:
            raise ValueError(f'{self!r} mixes routes over maps with routes through volumes')

    @property
    def weight(self) -> float:
        """What the sum over the routes is multiplied with."""
        return 1 / len(self) if self.merge == 'mean' else 1.0

    def __len__(self) -> int:
        return len(self.routes)

    def __repr__(self) -> str:
        return f'Scan({", ".join(self.names)}{"" if self.merge == "sum" else "; " + self.merge})'

    def tables(self, *sizes: int, device: torch.device | str = 'cpu', redraw: bool = False) -> Tensor:
        """The routes: (K, L) int64. Not to be written to: the table is cached and shared.

        Args:
            sizes: ``h, w``, for routes through volumes ``t, h, w``.
            device: where the table lies.
            redraw: draw another permutation for each ``shuffle``, as training does.

        Raises:
            ValueError: if the number of sizes is not that of the routes' axes.
        """
        if len(sizes) != self.axes:
            kind = 'maps of h x w' if self.axes == 2 else 'volumes of t x h x w'
            raise ValueError(f'{self!r} walks {kind}, got the sizes {sizes}')
        tables = route_tables(self.routes, sizes, device)
        if not redraw or all(route.base != 'shuffle' for route in self.routes):
            return tables
        length = tables.shape[1]
        drawn = [torch.randperm(length, device=device) if route.base == 'shuffle' else tables[k]
                 for k, route in enumerate(self.routes)]  # fmt: skip
        return torch.stack(drawn)


def build_scan(scan: str | dict | Sequence[str | dict] | Scan) -> Scan:
    """A :class:`Scan` from what a config says: a scan's name, a route's name, or a list of routes.

    Args:
        scan: such as ``'cross'``, ``'raster.reverse'``, ``'raster+hilbert.reverse'``,
            ``['raster', dict(type='window', size=7)]`` or ``dict(type='mean', routes=['raster', 'snake'])``.

    Raises:
        ValueError: if a name is unknown; the message lists those that exist.
        TypeError: if ``scan`` is none of these kinds.
    """
    if isinstance(scan, Scan):
        return scan
    if isinstance(scan, str) and scan in NAMED_SCANS:
        return Scan(NAMED_SCANS[scan], 'mean' if scan in AVERAGED_SCANS else 'sum')
    if isinstance(scan, dict) and scan.get('type') in MERGES and set(scan) == {'type', 'routes'}:
        return Scan(scan['routes'], scan['type'])
    routes: Sequence[str | dict | Route]
    if isinstance(scan, str):
        routes = scan.split('+')
    elif isinstance(scan, dict):
        routes = [scan]
    elif isinstance(scan, Sequence) and all(isinstance(route, (str, dict, Route)) for route in scan):
        routes = scan
    else:
        raise TypeError(f'scan {scan!r} is neither a name nor a list of route names; {known_names()}')
    try:
        return Scan(routes)
    except UnknownRouteError as error:
        raise ValueError(f'scan or route {error.name!r} is unknown; {known_names()}') from None


def check_axes(scan: object, found: int, axes: int) -> None:
    """Refuse a scan of maps where volumes are scanned, and the reverse.

    Args:
        scan: as a config gives it, for the message.
        found: axes of what it walks, 2 or 3.
        axes: of what the mixer is given.

    Raises:
        ValueError: if they differ.
    """
    if found != axes:
        kinds = {2: 'maps', 3: 'volumes'}
        raise ValueError(f'scan {scan!r} is for {kinds[found]}, this mixer for {kinds[axes]}; {known_names()}')


def known_names() -> str:
    """What an error says about the scans and routes that exist."""
    return f'scans: {", ".join([*NAMED_SCANS, *SCHEDULES, *SCAN_MODULES.module_dict])}; {known_routes()}'


__all__ = [
    'MODIFIERS',
    'NAMED_SCANS',
    'NAMED_SCHEDULES',
    'SCAN_MODULES',
    'SCHEDULES',
    'Scan',
    'build_scan',
    'check_axes',
    'known_names',
]
