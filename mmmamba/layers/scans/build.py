"""From what a config says to the scan of one mixer."""

import inspect

from torch import nn

from mmmamba.scans import SCAN_MODULES, SCHEDULES, Scan, ScanSpec, build_scan, check_axes, known_names

from .selective_scans import StateSpace


def build_layer_scan(scan: ScanSpec | nn.Module, channels: int, state: StateSpace, axes: int = 2) -> Scan | nn.Module:
    """A list of routes whose outputs the mixer sums, or a module that merges them in its own way.

    Args:
        scan: what :func:`mmmamba.scans.build_scan` reads; or a module of ``SCAN_MODULES`` by its name, with or without
            its first argument, ``'atrous'``, ``'atrous:3'``, ``'local:raster/window:7'``, or as a dict
            ``dict(type='local', routes=['raster', 'window:7'])``.
        channels: of the map that is scanned.
        state: of its selective scans.
        axes: 2 for maps, 3 for volumes.

    Raises:
        ValueError: if a name, an argument or its value is unknown, or the scan is for another number of axes; the
            message lists those that exist.
        TypeError: if ``scan`` is of another kind.
    """
    name, argument = _name(scan)
    if name in SCHEDULES:
        raise ValueError(f'scan {scan!r} differs between layers, which only a backbone knows; {known_names()}')
    if name not in SCAN_MODULES.module_dict:
        built = build_scan(scan)
        found = built.axes
    else:
        options = {k: v for k, v in scan.items() if k != 'type'} if isinstance(scan, dict) else _options(name, argument)
        unknown = sorted(set(options) - set(_arguments(name)))
        if unknown:
            takes = ', '.join(_arguments(name)) or 'none'
            raise ValueError(f'scan {name!r} has the unknown arguments {unknown}; it takes {takes}')
        built = SCAN_MODULES.get(name)(channels, state, **options)
        found = 2
    check_axes(scan, found, axes)
    return built


def _name(scan: ScanSpec) -> tuple[str | None, str]:
    """The name of a scan with arguments, and the argument that follows it in a string."""
    if isinstance(scan, dict):
        return scan.get('type'), ''
    if isinstance(scan, str) and '+' not in scan:
        name, _, argument = scan.partition(':')
        return name, argument
    return None, ''


def _arguments(name: str) -> list[str]:
    parameters = inspect.signature(SCAN_MODULES.get(name).__init__).parameters.values()
    return [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]


def _options(name: str, argument: str) -> dict:
    if not argument:
        return {}
    if not _arguments(name):
        raise ValueError(f'scan {name!r} takes no argument, got {argument!r}')
    first = _arguments(name)[0]
    return {first: argument.split('/') if first == 'routes' else _number(argument)}


def _number(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text
