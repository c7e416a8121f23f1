"""Scans that differ between the layers of a backbone: which one a layer gets.

In a string ``/`` separates the scans of a schedule and ``+`` the routes of one scan: ``'per_stage:window:7/cross'``,
``'alternating:raster+raster.reverse/hilbert'``.
"""

from collections.abc import Sequence

from .scan import NAMED_SCHEDULES, SCHEDULES, Scan, known_names

ScanSpec = str | dict | Sequence[str | dict] | Scan


def scan_of_layer(scan: ScanSpec, layer: int, depths: Sequence[int]) -> ScanSpec:
    """The scan of one layer.

    Args:
        scan: the backbone's. ``dict(type='alternating', scans=[...])``: layer i takes scan i mod K, counted through
            all stages. ``dict(type='per_layer', scans=[...])``: one for each layer. ``dict(type='per_stage',
            scans=[...])``: one for each stage. As strings ``'alternating:A/B'`` and so on; ``'alternating'`` alone and
            ``mamba_nd``, ``mamba_nd_3d``, ``zigma`` and ``fractal`` alternate between scans of their own.
            ``hierarchical``: parallel scans in raster order, 2S - 1 of them in the first of S stages and two fewer in
            each later one. Anything else is every layer's.
        layer: counted from 0 through all stages.
        depths: layers of each stage.

    Raises:
        ValueError: if the number of scans does not fit ``depths``, or there is none.
    """
    kind, scans = _parse(scan)
    if kind is None:
        return scan
    stage = sum(layer >= sum(depths[: i + 1]) for i in range(len(depths)))
    if kind == 'hierarchical':
        return ['raster'] * (2 * (len(depths) - stage) - 1)
    if kind == 'alternating':
        return scans[layer % len(scans)]
    wanted = len(depths) if kind == 'per_stage' else sum(depths)
    if len(scans) != wanted:
        unit = kind.removeprefix('per_')
        raise ValueError(f'scan {scan!r} has {len(scans)} scans for {wanted} {unit}s; give one for each {unit}')
    return scans[stage if kind == 'per_stage' else layer]


def _parse(scan: ScanSpec) -> tuple[str | None, Sequence[ScanSpec]]:
    """Kind and scans of a schedule; no kind for anything else."""
    if isinstance(scan, dict) and scan.get('type') in SCHEDULES:
        kind, scans, rest = scan['type'], scan.get('scans', ()), set(scan) - {'type', 'scans'}
        if rest:
            raise ValueError(f"scan {scan!r} has the unknown keys {sorted(rest)}; a schedule takes 'scans'")
    elif isinstance(scan, str) and scan.split(':')[0] in SCHEDULES:
        kind, _, scans = scan.partition(':')
        scans = scans.split('/') if scans else ()
    else:
        return None, ()
    if kind == 'hierarchical' or kind in NAMED_SCHEDULES:
        if scans:
            raise ValueError(f'scan {scan!r}: {kind!r} takes no scans; alternating, per_layer and per_stage do')
        return (kind, ()) if kind == 'hierarchical' else ('alternating', NAMED_SCHEDULES[kind])
    if kind == 'alternating' and not scans:
        scans = NAMED_SCHEDULES['mamba_nd']
    if isinstance(scans, str) or not scans:
        raise ValueError(f'scan {scan!r} needs a list of scans, such as {kind}:raster/snake; {known_names()}')
    return kind, scans
