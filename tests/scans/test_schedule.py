"""Scans that differ between layers."""

import pytest

from mmmamba.scans import NAMED_SCHEDULES, SCHEDULES, build_scan, scan_of_layer

DEPTHS = [1, 2, 1]


def scans(scan, depths=DEPTHS):
    return [scan_of_layer(scan, layer, depths) for layer in range(sum(depths))]


@pytest.mark.parametrize('scan', ['cross', 'window:7', ['raster', 'atrous'], dict(type='window'), 'local:snake'])
def test_any_other_scan_is_that_of_every_layer(scan):
    assert scans(scan) == [scan] * 4


@pytest.mark.parametrize('given_as', [
    'alternating:raster/raster+snake/atrous:2',
    dict(type='alternating', scans=['raster', 'raster+snake', 'atrous:2']),
])  # fmt: skip
def test_alternating_counts_layers_through_all_stages(given_as):
    assert scans(given_as) == ['raster', 'raster+snake', 'atrous:2', 'raster']


@pytest.mark.parametrize('given_as', [
    'per_stage:cross/window:7/local',
    dict(type='per_stage', scans=['cross', 'window:7', 'local']),
])  # fmt: skip
def test_per_stage(given_as):
    assert scans(given_as) == ['cross', 'window:7', 'window:7', 'local']


def test_per_layer():
    assert scans('per_layer:a/b/c/d') == ['a', 'b', 'c', 'd']


def test_hierarchical_has_fewer_parallel_scans_in_deeper_stages():
    assert scans('hierarchical') == [['raster'] * 5, ['raster'] * 3, ['raster'] * 3, ['raster']]


def test_named_schedules():
    assert scans('mamba_nd') == scans('alternating') == list(NAMED_SCHEDULES['mamba_nd'])
    assert scans('mamba_nd_3d', [7]) == [*NAMED_SCHEDULES['mamba_nd_3d'], 'raster_3d']
    assert scans('fractal') == ['hilbert_cross', 'hilbert_shifted_cross'] * 2
    snakes = scans('zigma', [8])
    assert len(set(snakes)) == 8
    assert len({tuple(build_scan(snake).tables(3, 5)[0].tolist()) for snake in snakes}) == 8  # the eight forms


@pytest.mark.parametrize(('scan', 'message'), [
    ('per_stage:cross/raster', r"scan 'per_stage:cross/raster' has 2 scans for 3 stages; give one for each stage"),
    ('per_layer:cross', r'has 1 scans for 4 layers; give one for each layer'),
    ('per_stage', r'needs a list of scans, such as per_stage:raster/snake; scans: unidirectional'),
    (dict(type='alternating', scans='raster'), r'needs a list of scans'),
    (dict(type='alternating', scan=['raster']), r"has the unknown keys \['scan'\]; a schedule takes 'scans'"),
    ('zigma:raster', r"'zigma' takes no scans; alternating, per_layer and per_stage do"),
])  # fmt: skip
def test_bad_schedules_are_named(scan, message):
    with pytest.raises(ValueError, match=message):
        scans(scan)


def test_every_schedule_is_listed_in_errors():
    with pytest.raises(ValueError, match='.*'.join(SCHEDULES)):
        build_scan('zebra')
