"""Index math of scans: routes, lists of routes, and which scan each layer gets. No learned parameter here."""

from .directions import DIRECTIONS, directions
from .hilbert import hilbert, hilbert_3d, hilbert_shifted
from .modifiers import MODIFIERS, SYMMETRIES, VOLUME_MODIFIERS
from .route import Route, cached_tables, parse_route, route_names, route_tables
from .routes import (
    atrous,
    continuous_diagonal,
    diagonal,
    radial,
    raster,
    shuffle,
    snake,
    spiral,
    window,
    wrapped_antidiagonal,
    wrapped_diagonal,
)
from .scan import NAMED_SCANS, NAMED_SCHEDULES, SCAN_MODULES, SCHEDULES, Scan, build_scan, check_axes, known_names
from .schedule import ScanSpec, scan_of_layer
from .volume import raster_3d, snake_3d

__all__ = [
    'DIRECTIONS',
    'MODIFIERS',
    'NAMED_SCANS',
    'NAMED_SCHEDULES',
    'SCAN_MODULES',
    'SCHEDULES',
    'SYMMETRIES',
    'VOLUME_MODIFIERS',
    'Route',
    'Scan',
    'ScanSpec',
    'atrous',
    'build_scan',
    'cached_tables',
    'check_axes',
    'continuous_diagonal',
    'diagonal',
    'directions',
    'hilbert',
    'hilbert_3d',
    'hilbert_shifted',
    'known_names',
    'parse_route',
    'radial',
    'raster',
    'raster_3d',
    'route_names',
    'route_tables',
    'scan_of_layer',
    'shuffle',
    'snake',
    'snake_3d',
    'spiral',
    'window',
    'wrapped_antidiagonal',
    'wrapped_diagonal',
]
