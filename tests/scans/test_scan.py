"""Routes and scans: what they visit, how they are named."""

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmamba.registry import SCANS
from mmmamba.scans import MODIFIERS, NAMED_SCANS, Scan, build_scan, route_names

ROUTES = [f'{base}{suffix}' for base in route_names() for suffix in ('', *(f'.{m}' for m in MODIFIERS))]


def route(name, h, w):
    return build_scan(name).tables(h, w)[0]


@pytest.mark.parametrize('name', [*ROUTES, 'raster.transpose.reverse', 'raster.reverse.transpose'])
@settings(max_examples=30)
@given(h=st.integers(1, 24), w=st.integers(1, 24))
def test_route_is_a_bijection_onto_the_pixels(name, h, w):
    visited = route(name, h, w)
    assert visited.dtype == torch.int64
    assert torch.equal(visited.sort().values, torch.arange(h * w))


@pytest.mark.parametrize(
    ('name', 'expected'),
    [
        ('raster', [0, 1, 2, 3, 4, 5]),
        ('raster.reverse', [5, 4, 3, 2, 1, 0]),
        ('raster.transpose', [0, 3, 1, 4, 2, 5]),
        ('raster.transpose.reverse', [5, 2, 4, 1, 3, 0]),
        ('raster.reverse.transpose', [5, 2, 4, 1, 3, 0]),
    ],
)
def test_route_visits_a_map_of_two_rows_and_three_columns_in_order(name, expected):
    assert route(name, 2, 3).tolist() == expected


@pytest.mark.parametrize('modifier', ['reverse', 'transpose'])
@pytest.mark.parametrize('name', ROUTES)
def test_a_modifier_twice_is_the_route_itself(name, modifier):
    assert torch.equal(route(f'{name}.{modifier}.{modifier}', 5, 3), route(name, 5, 3))


@pytest.mark.parametrize('name', ROUTES)
def test_transposed_route_walks_the_transposed_map(name):
    pixels = torch.arange(15).view(5, 3)
    walked = pixels.T.flatten()[route(name, 3, 5)]
    assert torch.equal(walked, route(f'{name}.transpose', 5, 3))


def test_cross_is_rows_columns_and_both_backwards():
    """The order of VMamba's four groups of parameters."""
    rows, columns = torch.arange(6), torch.arange(6).view(2, 3).T.flatten()
    assert torch.equal(build_scan('cross').tables(2, 3), torch.stack([rows, columns, rows.flip(0), columns.flip(0)]))


@pytest.mark.parametrize(('name', 'routes'), NAMED_SCANS.items())
def test_named_scan_has_its_routes(name, routes):
    scan = build_scan(name)
    assert scan.names == routes
    assert len(scan) == len(routes) == len(scan.tables(*(3, 4, 2)[: scan.axes]))


@pytest.mark.parametrize(
    'given_as', ['raster.reverse', ['raster.reverse'], ('raster.reverse',), Scan(['raster.reverse'])]
)
def test_scan_is_built_from_a_route_a_list_or_a_scan(given_as):
    assert build_scan(given_as).tables(2, 2).tolist() == [[3, 2, 1, 0]]


def test_a_route_may_come_twice():
    assert len(build_scan(['raster', 'raster'])) == 2


def test_tables_are_cached_per_size():
    scan = build_scan('cross')
    assert scan.tables(3, 4) is scan.tables(3, 4)
    assert scan.tables(4, 3).shape == scan.tables(3, 4).shape
    assert not torch.equal(scan.tables(4, 3), scan.tables(3, 4))


@pytest.mark.parametrize('duplicate', [copy.copy, copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])  # noqa: S301
def test_a_copy_has_the_same_routes(duplicate):
    scan = build_scan(['raster', 'raster.transpose'])
    scan.tables(2, 3)
    assert duplicate(scan).names == scan.names
    assert torch.equal(duplicate(scan).tables(2, 3), scan.tables(2, 3))


def test_repr_names_the_routes():
    assert repr(build_scan('bidirectional')) == 'Scan(raster, raster.reverse)'


KNOWN = r'scans: unidirectional, bidirectional, cross, .*; routes: .*raster.*, each with \.reverse, \.transpose'


@pytest.mark.parametrize('name', ['zebra', 'raster.zebra', 'cross.reverse', '', 'reverse', 'raster.'])
def test_unknown_name_is_refused_with_those_that_exist(name):
    with pytest.raises(ValueError, match=f"scan or route '{name}' is unknown; {KNOWN}"):
        build_scan(name)


def test_unknown_name_in_a_list_is_refused():
    with pytest.raises(ValueError, match="scan or route 'cross' is unknown"):  # a scan, not a route
        build_scan(['raster', 'cross'])


def test_empty_list_is_refused():
    with pytest.raises(ValueError, match='a scan needs at least one route, got an empty list'):
        build_scan([])


@pytest.mark.parametrize('value', [None, 4, [1, 2], {'raster'}])
def test_other_kinds_are_refused(value):
    with pytest.raises(TypeError, match=f'is neither a name nor a list of route names; {KNOWN}'):
        build_scan(value)


def test_a_registered_route_works_in_any_scan():
    @SCANS.register_module(name='test_columns_from_the_right')
    def from_the_right(h, w):
        return torch.arange(h * w).view(h, w).flip(1).T.flatten()

    try:
        scan = build_scan(['test_columns_from_the_right', 'test_columns_from_the_right.reverse'])
        assert scan.tables(2, 3).tolist() == [[2, 5, 1, 4, 0, 3], [3, 0, 4, 1, 5, 2]]
    finally:
        del SCANS.module_dict['test_columns_from_the_right']


# Parameters, dicts, merges, the shared cache.


@pytest.mark.parametrize(('given_as', 'name'), [
    ('window:2.flip_h.reverse', 'window:2.flip_h.reverse'),
    (dict(type='window', size=2, modifiers=['flip_h', 'reverse']), 'window:2.flip_h.reverse'),
    (dict(type='window'), 'window'),
    (dict(type='raster', modifiers=('transpose',)), 'raster.transpose'),
])  # fmt: skip
def test_a_route_has_one_name_however_it_is_given(given_as, name):
    assert build_scan(given_as).names == build_scan([given_as]).names == (name,)


def test_a_sum_is_a_list_in_one_string():
    assert build_scan('raster+window:2.reverse').names == ('raster', 'window:2.reverse')


@pytest.mark.parametrize(('route', 'message'), [
    ('raster:3', r"route 'raster:3': 'raster' takes no parameter"),
    ('window:2:3', r"route 'window:2:3': 'window' takes only size"),
    ('window:x', r"route 'window:x': the parameter after 'window' must be a whole number"),
    ('window:0', r'window size 0 must be a whole number of at least 1'),
    (dict(type='atrous', stride='x'), r"atrous stride 'x' must be a whole number of at least 1"),
    (dict(type='window', k=3), r"has the unknown keys \['k'\]; 'window' takes modifiers, size"),
    (dict(size=3), r'has no type that exists; routes: atrous:<stride>, .*raster'),
    (['raster', 'raster_3d'], r'Scan\(raster, raster_3d\) mixes routes over maps with routes through volumes'),
    (dict(type='mean', routes=[]), r'a scan needs at least one route'),
])  # fmt: skip
def test_bad_arguments_of_routes_are_named(route, message):
    with pytest.raises(ValueError, match=message):
        build_scan(route)


def test_a_registered_route_that_is_no_bijection_is_refused():
    @SCANS.register_module(name='test_half')
    def half(h, w):
        return torch.arange(h * w // 2)

    try:
        with pytest.raises(ValueError, match="route 'test_half' does not visit each pixel of a map of"):
            build_scan('test_half')
    finally:
        del SCANS.module_dict['test_half']


def test_mean_is_told_to_the_mixer():
    scan = build_scan(dict(type='mean', routes=['raster', 'snake']))
    assert (scan.merge, scan.weight, repr(scan)) == ('mean', 0.5, 'Scan(raster, snake; mean)')
    assert build_scan('spatiotemporal').merge == 'mean'
    assert build_scan('cross').weight == 1


def test_tables_are_shared_between_scans():
    assert build_scan('cross').tables(5, 6) is build_scan(list(NAMED_SCANS['cross'])).tables(5, 6)


def test_a_route_registered_anew_is_not_served_from_the_cache():
    try:
        SCANS.register_module(name='test_anew', module=lambda h, w: torch.arange(h * w))
        assert build_scan('test_anew').tables(1, 3).tolist() == [[0, 1, 2]]
        SCANS.register_module(name='test_anew', module=lambda h, w: torch.arange(h * w).flip(0), force=True)
        assert build_scan('test_anew').tables(1, 3).tolist() == [[2, 1, 0]]
    finally:
        SCANS.module_dict.pop('test_anew', None)


@pytest.mark.parametrize('device', ['cpu', 'meta'])  # on any but the CPU, tables are copied
def test_tables_made_in_inference_mode_serve_training(device):
    with torch.inference_mode():
        table = build_scan(['spiral', 'raster']).tables(6, 9, device=device)
    assert not table.is_inference()


def test_wrong_number_of_sizes_is_refused():
    with pytest.raises(ValueError, match=r'Scan\(raster_3d, raster_3d.reverse\) walks volumes of t x h x w, got'):
        build_scan('bidirectional_3d').tables(3, 4)


def test_training_draws_a_shuffle_anew_and_nothing_else():
    scan = build_scan(['raster', 'shuffle'])
    torch.manual_seed(0)
    first, second = scan.tables(5, 5, redraw=True), scan.tables(5, 5, redraw=True)
    assert torch.equal(first[0], second[0])
    assert not torch.equal(first[1], second[1])
    assert torch.equal(first[1].sort().values, torch.arange(25))
    assert torch.equal(scan.tables(5, 5), scan.tables(5, 5))


def test_compiled_graphs_look_tables_up_for_every_size():
    scan = build_scan(['hilbert', 'window:3.rotate90'])

    @torch.compile(fullgraph=True, backend='eager', dynamic=True)
    def steps(x):
        return scan.tables(x.shape[0], x.shape[1], device=x.device) * 2

    for size in ((4, 5), (6, 9), (7, 3)):
        assert torch.equal(steps(torch.zeros(size)), scan.tables(*size) * 2)


def test_the_op_of_compiled_graphs_is_registered_as_it_should_be():
    torch.library.opcheck(torch.ops.mmmamba.route_tables, ('hilbert raster.reverse', [3, 5], torch.device('cpu')))
