"""Every base route against its definition, written out pixel by pixel; symmetries against flips of the map."""

import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmmamba.scans import DIRECTIONS, SYMMETRIES, VOLUME_MODIFIERS, directions, hilbert, parse_route, route_names

SIZES = dict(h=st.integers(1, 17), w=st.integers(1, 17))
PARAMETERS = {'window': [1, 2, 3, 7], 'atrous': [1, 2, 3], 'shuffle': [0, 5]}
ROUTES = [name for base in route_names() for name in (base, *(f'{base}:{p}' for p in PARAMETERS.get(base, [])))]


def path(name, *sizes):
    return parse_route(name).order(*sizes).tolist()


def pixels(name, h, w):
    """(row, column) of each step."""
    return [divmod(p, w) for p in path(name, h, w)]


def sorted_pixels(h, w, key):
    return sorted(((r, c) for r in range(h) for c in range(w)), key=lambda p: key(*p))


def reach(a, b):
    """Larger and total movement along the axes of one step."""
    moves = [abs(x - y) for x, y in zip(a, b, strict=True)]
    return max(moves), sum(moves)


@pytest.mark.parametrize('name', ROUTES)
@settings(max_examples=40)
@given(**SIZES)
def test_route_has_an_inverse(name, h, w):
    order = parse_route(name).order(h, w)
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(h * w)
    assert order.dtype == torch.int64
    assert torch.equal(inverse[order], torch.arange(h * w))
    assert torch.equal(order[inverse], torch.arange(h * w))


VIEWS = {  # what each symmetry does to the map
    'transpose': lambda m: m.T,
    'antitranspose': lambda m: m.flip(0).flip(1).T,
    'flip_h': lambda m: m.flip(1),
    'flip_v': lambda m: m.flip(0),
    'rotate90': lambda m: m.T.flip(0),
    'rotate180': lambda m: m.flip(0).flip(1),
    'rotate270': lambda m: m.flip(0).T,
}


@pytest.mark.parametrize('modifier', SYMMETRIES)
@pytest.mark.parametrize('name', ROUTES)
@settings(max_examples=10)
@given(**SIZES)
def test_symmetry_walks_the_map_that_was_flipped_or_turned(name, modifier, h, w):
    image = torch.arange(h * w).view(h, w)
    seen = VIEWS[modifier](image)
    walked = seen.flatten()[parse_route(name).order(*seen.shape)]
    assert torch.equal(parse_route(f'{name}.{modifier}').order(h, w), walked)
    assert path(f'{name}.{modifier}.reverse', h, w) == walked.tolist()[::-1]


def test_eight_symmetries_are_a_group():
    assert path('diagonal.rotate90.rotate90.rotate90.rotate90', 3, 5) == path('diagonal', 3, 5)
    assert path('diagonal.flip_h.transpose', 3, 5) in [path(f'diagonal.{m}', 3, 5) for m in ('rotate90', 'rotate270')]
    assert len({tuple(path('snake', 3, 5)), *(tuple(path(f'snake.{m}', 3, 5)) for m in SYMMETRIES)}) == 8


@pytest.mark.parametrize('name', ['snake', *(f'snake.{m}' for m in SYMMETRIES), 'spiral', 'spiral.reverse.transpose'])
@settings(max_examples=40)
@given(**SIZES)
def test_every_step_goes_to_one_of_four_neighbours(name, h, w):
    assert all(reach(a, b) == (1, 1) for a, b in pairwise(pixels(name, h, w)))


@pytest.mark.parametrize('name', ['continuous_diagonal', 'continuous_diagonal.flip_h'])
@given(**SIZES)
def test_every_step_goes_to_one_of_eight_neighbours(name, h, w):
    assert all(reach(a, b)[0] == 1 for a, b in pairwise(pixels(name, h, w)))


@settings(max_examples=200)
@given(h=st.integers(1, 40), w=st.integers(1, 40))
def test_hilbert_goes_to_neighbours_but_for_one_diagonal_step_where_a_side_is_odd(h, w):
    steps = [reach(a, b) for a, b in pairwise(pixels('hilbert', h, w))]
    assert all(longest == 1 for longest, _ in steps)
    assert sum(total > 1 for _, total in steps) <= (h % 2 or w % 2)


@pytest.mark.parametrize('side', [2, 4, 8, 16])
def test_hilbert_fills_the_quadrants_of_a_power_of_two_one_after_the_other(side):
    half = side // 2
    quadrants = [(r // half, c // half) for r, c in pixels('hilbert', side, side)]
    changes = sum(a != b for a, b in pairwise(quadrants))
    assert changes == 3


def test_hilbert_of_a_large_map_is_built_in_time():
    times = []
    for _ in range(5):
        start = time.process_time()
        hilbert(512, 512)
        times.append(time.process_time() - start)
    assert min(times) < 0.05


@given(**SIZES)
def test_shifted_hilbert_is_the_larger_curve_as_far_as_it_runs_over_the_map(h, w):
    rows, cols = -(-h // 4), -(-w // 4)
    larger = pixels('hilbert', h + rows, w + cols)
    inside = [(r - rows, c - cols) for r, c in larger if r >= rows and c >= cols]
    assert pixels('hilbert_shifted', h, w) == inside


@given(**SIZES)
def test_snake_definition(h, w):
    assert pixels('snake', h, w) == sorted_pixels(h, w, lambda r, c: (r, c if r % 2 == 0 else -c))


@given(**SIZES)
def test_diagonal_definition(h, w):
    assert pixels('diagonal', h, w) == sorted_pixels(h, w, lambda r, c: (r + c, r))


@given(**SIZES)
def test_continuous_diagonal_definition(h, w):
    def key(r, c):
        return r + c, r if (r + c) % 2 == 0 else -r

    assert pixels('continuous_diagonal', h, w) == sorted_pixels(h, w, key)


@given(**SIZES)
def test_wrapped_diagonal_definitions(h, w):
    steps = [(k, r) for k in range(w) for r in range(h)]  # step k * h + r
    assert pixels('wrapped_diagonal', h, w) == [(r, (r + k) % w) for k, r in steps]
    assert pixels('wrapped_antidiagonal', h, w) == [(r, (k - r) % w) for k, r in steps]


@given(**SIZES)
def test_spiral_is_a_clockwise_peel_backwards(h, w):
    left = {(r, c) for r in range(h) for c in range(w)}
    peeled, (r, c), (dr, dc) = [], (0, 0), (0, 1)
    while left:
        peeled.append((r, c))
        left.remove((r, c))
        if (r + dr, c + dc) not in left:
            dr, dc = dc, -dr  # turn right
        r, c = r + dr, c + dc
    assert pixels('spiral', h, w) == peeled[::-1]


@given(**SIZES)
def test_radial_goes_ray_by_ray_outwards_from_the_centre(h, w):
    steps = [(r - h // 2, c - w // 2) for r, c in pixels('radial', h, w)]
    assert steps[0] == (0, 0)
    rays = 8 * max(1, round((h + w) / 8))
    turns = [torch.atan2(torch.tensor(float(y)), torch.tensor(float(x))).item() / (2 * torch.pi) for y, x in steps]
    sector = [(turn * rays + 0.5 + 1e-5) % rays // 1 for turn in turns]
    for (a, b), (ray_a, ray_b) in zip(pairwise(steps), pairwise(sector), strict=True):
        assert ray_b > ray_a or (ray_b == ray_a and a[0] ** 2 + a[1] ** 2 <= b[0] ** 2 + b[1] ** 2)


def test_radial_starts_with_the_straight_ray_to_the_right():
    assert pixels('radial', 9, 9)[:5] == [(4, 4), (4, 5), (4, 6), (4, 7), (4, 8)]


@pytest.mark.parametrize('size', [1, 2, 3, 7])
@given(**SIZES)
def test_window_definition_on_the_padded_map(size, h, w):
    cols = -(-w // size) * size

    def offset(r, c):
        return ((cols // size) * (r // size) + c // size) * size * size + (r % size) * size + c % size

    assert pixels(f'window:{size}', h, w) == sorted_pixels(h, w, offset)


@given(**SIZES)
def test_atrous_definition(h, w):
    """EfficientVMamba's four sub-grids."""
    grids = [
        [(r, c) for r in range(0, h, 2) for c in range(0, w, 2)],
        [(r, c) for c in range(0, w, 2) for r in range(1, h, 2)],
        [(r, c) for r in range(0, h, 2) for c in range(1, w, 2)],
        [(r, c) for c in range(1, w, 2) for r in range(1, h, 2)],
    ]
    assert pixels('atrous:2', h, w) == sum(grids, [])
    assert path('atrous', h, w) == path('atrous:2', h, w)


def test_shuffle_is_drawn_from_its_seed():
    assert path('shuffle', 6, 7) == path('shuffle:0', 6, 7) != path('shuffle:1', 6, 7)


# Volumes.

VOLUMES = dict(t=st.integers(1, 7), h=st.integers(1, 9), w=st.integers(1, 9))
VOLUME_ROUTES = [
    '.'.join([base, *more]) for base in route_names(3) for more in [(), ('temporal',), ('flip_t', 'reverse')]
]


def voxels(name, t, h, w):
    return [(p // (h * w), p // w % h, p % w) for p in path(name, t, h, w)]


@pytest.mark.parametrize('name', VOLUME_ROUTES)
@settings(max_examples=40)
@given(**VOLUMES)
def test_volume_route_is_a_bijection(name, t, h, w):
    assert sorted(path(name, t, h, w)) == list(range(t * h * w))


@given(**VOLUMES)
def test_raster_3d_definition(t, h, w):
    frames, rows, cols = range(t), range(h), range(w)
    assert voxels('raster_3d', t, h, w) == [(f, r, c) for f in frames for r in rows for c in cols]
    assert voxels('raster_3d.temporal', t, h, w) == [(f, r, c) for r in rows for c in cols for f in frames]
    assert voxels('raster_3d.flip_t', t, h, w) == [(t - 1 - f, r, c) for f in frames for r in rows for c in cols]


@given(**VOLUMES)
def test_snake_3d_goes_to_neighbours(t, h, w):
    steps = [reach(a, b) for a, b in pairwise(voxels('snake_3d', t, h, w))]
    assert all(step == (1, 1) for step in steps)
    assert path('snake_3d', 1, h, w) == path('snake', h, w)


@given(**VOLUMES)
def test_hilbert_3d_moves_by_one_voxel_along_each_axis_at_most(t, h, w):
    assert all(reach(a, b)[0] == 1 for a, b in pairwise(voxels('hilbert_3d', t, h, w)))
    assert path('hilbert_3d', 1, h, w) == path('hilbert', h, w)


@pytest.mark.parametrize('modifier', [*SYMMETRIES, *VOLUME_MODIFIERS])
def test_symmetry_of_a_volume_acts_on_each_frame(modifier):
    views = {name: lambda v, view=view: torch.stack([view(f) for f in v]) for name, view in VIEWS.items()}
    views |= {'temporal': lambda v: v.permute(1, 2, 0), 'flip_t': lambda v: v.flip(0)}
    seen = views[modifier](torch.arange(30).view(2, 3, 5))
    walked = seen.flatten()[parse_route('snake_3d').order(*seen.shape)]
    assert torch.equal(parse_route(f'snake_3d.{modifier}').order(2, 3, 5), walked)


# Directions.


@pytest.mark.parametrize('name', ['snake', 'snake.reverse', 'snake.transpose', 'snake.rotate90', 'spiral'])
@given(**SIZES)
def test_directions_name_the_step_that_leads_to_each_pixel(name, h, w):
    codes = directions(parse_route(name).order(h, w)[None], w)[0].tolist()
    steps = pixels(name, h, w)
    moves = {(0, 1): 'right', (0, -1): 'left', (-1, 0): 'up', (1, 0): 'down'}
    assert DIRECTIONS[codes[steps[0][0] * w + steps[0][1]]] == 'start'
    for (r0, c0), (r, c) in pairwise(steps):
        assert DIRECTIONS[codes[r * w + c]] == moves[r - r0, c - c0]
