"""Every scan against gather, 1-D reference scan, scatter and merge, written out in fp64: outputs and gradients."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn import functional as F

from mmmamba.layers import SS2D
from mmmamba.layers.scans import StateSpace, build_layer_scan
from mmmamba.ops import reference
from mmmamba.scans import SCAN_MODULES, SYMMETRIES, Scan, build_scan, parse_route, route_names

CHANNELS = 8
SIZES = [(5, 7), (4, 6), (1, 3)]


class Sum(torch.nn.Module):
    """What SS2D does with a list of routes."""

    def __init__(self, scan, state):
        super().__init__()
        self.mixer = SS2D(CHANNELS, ssm_ratio=1.0, scan=scan, d_state=state.d_state, dt_rank=state.dt_rank)
        for name in ('in_proj', 'conv', 'out_norm', 'out_proj'):
            setattr(self.mixer, name, torch.nn.Identity())  # the scan alone
        self.routes = self.mixer.scan

    def forward(self, x):
        return self.mixer._scan_routes(x)

    def __getattr__(self, name):
        return super().__getattr__(name) if name in ('mixer', '_modules') else getattr(self.mixer, name)


def build(scan, seed=0):
    torch.manual_seed(seed)
    state = StateSpace(d_state=3, dt_rank=4)
    module = build_layer_scan(scan, CHANNELS, state)
    module = (Sum(scan, state) if isinstance(module, Scan) else module).double().eval()
    for name, parameter in module.named_parameters():  # values at which every part shows
        if not name.endswith(('dt_proj_bias', 'A_log')):
            torch.nn.init.normal_(parameter, std=0.5)
        elif name.endswith('dt_proj_bias'):
            torch.nn.init.normal_(parameter, mean=-1.0)  # steps long enough for the state to matter
    return module


def walk(m, x, order, k, *, add_to_B=None):
    """Tokens (B, L, E) in ``order`` through the 1-D scan with parameter set k, put back; the rest is 0."""
    d_state, rank = m.A_log.shape[2], m.dt_proj_weight.shape[2]
    u = x[:, order]
    low_rank, B, C = (u @ m.x_proj_weight[k].T).split([rank, d_state, d_state], dim=-1)
    B = B if add_to_B is None else B + add_to_B
    delta = low_rank @ m.dt_proj_weight[k].T
    options = dict(delta_bias=m.dt_proj_bias[k], delta_softplus=True)
    y = reference.selective_scan(u, delta, -m.A_log[k].exp(), B, C, m.D[k], **options)
    return torch.zeros_like(x).index_add(1, torch.as_tensor(order), y)


def orders(names, h, w):
    return [parse_route(name).order(h, w) for name in names]


def write_out_sum(m, x, h, w):
    y = sum(walk(m, x, order, k) for k, order in enumerate(orders(m.routes.names, h, w)))
    return y / len(m.routes) if m.routes.merge == 'mean' else y


def direction_vectors(m, order, w):
    moves = {(0, 1): 1, (0, -1): 2, (-1, 0): 3, (1, 0): 4}
    steps = [divmod(p, w) for p in order.tolist()]
    codes = [0, *(moves[b[0] - a[0], b[1] - a[1]] for a, b in pairwise(steps))]
    return m.direction_B[codes]  # by step


def write_out_continuous(m, x, h, w):
    snakes = orders(('snake', 'snake.reverse', 'snake.transpose', 'snake.transpose.reverse'), h, w)
    if not m.released:
        return sum(walk(m, x, order, 0, add_to_B=direction_vectors(m, order, w)) for order in snakes)
    d_state, rank = m.A_log.shape[2], m.dt_proj_weight.shape[2]
    low_rank, B, C = (x @ m.x_proj_weight[0].T).split([rank, d_state, d_state], dim=-1)  # in raster order
    delta, options = low_rank @ m.dt_proj_weight[0].T, dict(delta_bias=2 * m.dt_proj_bias[0], delta_softplus=True)
    y = torch.zeros_like(x)
    for order in snakes:
        more = direction_vectors(m, order, w)
        scanned = reference.selective_scan(x[:, order], delta, -m.A_log[0].exp(), B + more, C, m.D[0], **options)
        y = y.index_add(1, order, scanned)
    return y


def gate(m, y):
    pooled = F.layer_norm(y, y.shape[-1:], m.gate.norm.weight, m.gate.norm.bias).mean(1, keepdim=True)
    hidden = pooled @ m.gate.fc1.weight.T + m.gate.fc1.bias
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    return y / (1 + torch.exp(-(hidden @ m.gate.fc2.weight.T + m.gate.fc2.bias)))


def write_out_local(m, x, h, w):
    if not m.padded:
        return sum(gate(m, walk(m, x, order, k)) for k, order in enumerate(orders(m.routes.names, h, w)))
    total = 0
    for k, route in enumerate(m.routes.routes):  # LocalMamba as released: windows of the map filled up with zeros
        size = route.parameters[0] if route.base == 'window' else 1
        rows, cols = math.ceil(h / size) * size, math.ceil(w / size) * size
        padded = F.pad(x.unflatten(1, (h, w)), (0, 0, 0, cols - w, 0, rows - h)).flatten(1, 2)
        y = walk(m, padded, route.order(rows, cols), k).unflatten(1, (rows, cols))[:, :h, :w].flatten(1, 2)
        total = total + gate(m, y)
    return total


def write_out_local_search(m, x, h, w):
    weights = torch.exp(m.route_logits) / torch.exp(m.route_logits).sum()
    gated = [gate(m, walk(m, x, order, k)) for k, order in enumerate(orders(m.routes.names, h, w))]
    centred = [y - y.mean(-1, keepdim=True) for y in gated]
    return sum(v * c / (c.square().mean(-1, keepdim=True) + 1e-5).sqrt() for v, c in zip(weights, centred, strict=True))


def write_out_atrous(m, x, h, w):
    s = m.stride
    rows, cols = math.ceil(h / s) * s, math.ceil(w / s) * s
    padded = F.pad(x.unflatten(1, (h, w)), (0, 0, 0, cols - w, 0, rows - h)).flatten(1, 2)
    y = torch.zeros_like(padded)
    for k in range(s * s):  # sub-grid k starts at row k % s and column k // s
        first_row, first_col = k % s, k // s
        if k % 2:
            order = [r * cols + c for c in range(first_col, cols, s) for r in range(first_row, rows, s)]
        else:
            order = [r * cols + c for r in range(first_row, rows, s) for c in range(first_col, cols, s)]
        y = y + walk(m, padded, order, k)
    return y.unflatten(1, (rows, cols))[:, :h, :w].flatten(1, 2)


def write_out_multiscale(m, x, h, w):
    names = ('raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse')
    full = len(m.full)
    y = sum(walk(m, x, order, 1 + k) for k, order in enumerate(orders(names[:full], h, w)))
    small = x.unflatten(1, (h, w)).permute(0, 3, 1, 2)
    small = F.silu(F.conv2d(small, m.downsample.weight, m.downsample.bias, stride=2, padding=3, groups=CHANNELS))
    rows, cols = small.shape[2:]
    small = small.flatten(2).transpose(1, 2)
    routes = orders(names[full:], rows, cols)
    sequence = torch.cat([small[:, order] for order in routes], dim=1)  # the state runs on
    scanned = walk(m, sequence, range(sequence.shape[1]), 0)
    norm_first = m.interpolation == 'bilinear'
    scanned = m.norm(scanned) if norm_first else scanned
    parts = scanned.split(rows * cols, dim=1)
    half = sum(torch.zeros_like(small).index_add(1, order, part) for order, part in zip(routes, parts, strict=True))
    half = half.transpose(1, 2).unflatten(2, (rows, cols))
    mode = dict(mode='bilinear', align_corners=False) if norm_first else dict(mode='nearest')
    half = F.interpolate(half, (h, w), **mode).flatten(2).transpose(1, 2)
    return m.norm(y) + half if norm_first else m.norm(y + half)


def write_out_grouped(m, x, h, w):
    routes = orders(m.routes.names, h, w)
    parts = x.split(CHANNELS // len(routes), dim=-1)
    pairs = enumerate(zip(parts, routes, strict=True))
    return torch.cat([walk(m, part, order, k) for k, (part, order) in pairs], dim=-1)


def write_out_omnidirectional_channel(m, x, h, w):
    y = write_out_sum(m, x, h, w)
    steps = y.mean(1).unsqueeze(-1) @ m.channel.lift.weight.T + m.channel.lift.bias  # (B, E, features)
    order = torch.arange(CHANNELS)
    c = walk(m.channel, steps, order, 0) + walk(m.channel, steps, order.flip(0), 1)
    return y + y * m.channel.norm((c @ m.channel.lower.weight.T).squeeze(-1)).unsqueeze(1)


def write_out_gated(m, x, h, w):
    outputs = [walk(m, x, order, 0) for order in orders(m.routes.names, h, w)]
    weights = (torch.cat([y.mean(1) for y in outputs], dim=1) @ m.gate.weight.T).softmax(1)
    return sum(weights[:, k, None, None] * y for k, y in enumerate(outputs))


def as_if_it_multiplied(score):
    return 1 + score - score.detach()


def write_out_adaptive(m, x, h, w):
    score, order, written = m.score(x), torch.arange(h * w), x
    if m.mask is not None:
        share = torch.sigmoid(x @ m.mask.weight + m.mask.bias).unsqueeze(-1)
        written = x * ((share > 0.5).double() + share - share.detach())
    images = []
    for b in range(len(x)):
        by_score = torch.tensor(sorted(range(h * w), key=lambda p, b=b: score[b, p].item()))
        sequence = (written * as_if_it_multiplied(score))[b : b + 1, by_score]
        y = walk(m, sequence, order, 0) + walk(m, sequence, order.flip(0), 1)
        images.append(torch.zeros_like(y).index_add(1, by_score, y) + (x - written)[b])
    return torch.cat(images)


def write_out_sparse(m, x, h, w):
    score, count, images = m.score(x), math.ceil(m.keep * h * w), []
    for b in range(len(x)):
        best = sorted(range(h * w), key=lambda p, b=b: -score[b, p].item())[:count]
        chosen = torch.tensor(sorted(best))
        order = torch.arange(count)
        y = walk(m, x[b : b + 1, chosen], order, 0) + walk(m, x[b : b + 1, chosen], order.flip(0), 1)
        kept = torch.ones(h * w, 1, dtype=x.dtype).index_fill(0, chosen, 0)
        y = y * as_if_it_multiplied(score[b : b + 1, chosen])
        images.append((x[b] * kept).unsqueeze(0).index_add(1, chosen, y))
    return torch.cat(images)


SCANS = {
    **{name: (name, write_out_sum) for name in ('unidirectional', 'bidirectional', 'cross', 'rotations',
       'omnidirectional', 'hilbert_cross', 'hilbert_shifted_cross')},
    'any routes': (['raster', 'atrous', 'hilbert.reverse', 'radial.rotate90', 'spiral.flip_v'], write_out_sum),
    'mean': (dict(type='mean', routes=['diagonal', 'shuffle']), write_out_sum),
    'continuous': ('continuous', write_out_continuous),
    'continuous, as released': (dict(type='continuous', released=True), write_out_continuous),
    'local': ('local', write_out_local),
    'local, routes': ('local:window:3/snake/window:2.transpose.reverse', write_out_local),
    'local, as released': (
        dict(type='local', routes=['raster', 'window:2.reverse', 'window:3', 'window:7'], padded=True), write_out_local,
    ),
    'local_search': ('local_search', write_out_local_search),
    'atrous': ('atrous', write_out_atrous),
    'atrous, three': ('atrous:3', write_out_atrous),
    'multiscale': ('multiscale', write_out_multiscale),
    'multiscale, two': ('multiscale:2', write_out_multiscale),
    'multiscale, three, branch v2': (dict(type='multiscale', full=3, interpolation='nearest'), write_out_multiscale),
    'grouped': ('grouped', write_out_grouped),
    'grouped, two heads': ('grouped:spiral/window:3', write_out_grouped),
    'omnidirectional_channel': ('omnidirectional_channel', write_out_omnidirectional_channel),
    'gated': ('gated', write_out_gated),
    'adaptive': ('adaptive', write_out_adaptive),
    'adaptive, no mask': (dict(type='adaptive', mask=False), write_out_adaptive),
    'sparse': ('sparse', write_out_sparse),
    'sparse, a quarter': ('sparse:0.25', write_out_sparse),
}  # fmt: skip


def test_every_scan_with_a_merge_of_its_own_is_written_out():
    assert set(SCAN_MODULES.module_dict) <= {scan for scan, _ in SCANS.values() if isinstance(scan, str)}


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('name', SCANS)
def test_scan_is_gather_scan_scatter_merge(name, size):
    scan, write_out = SCANS[name]
    module = build(scan)
    x = torch.randn(2, *size, CHANNELS, dtype=torch.float64, requires_grad=True)
    found = module(x)
    expected = write_out(module, x.flatten(1, 2), *size).view(x.shape)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    wanted = torch.randn_like(found)
    leaves = {'x': x, **dict(module.named_parameters())}
    gradients = [torch.autograd.grad((y * wanted).sum(), leaves.values(), allow_unused=True, retain_graph=True)
                 for y in (found, expected)]  # fmt: skip
    for leaf, a, b in zip(leaves, *gradients, strict=True):
        assert (a is None) == (b is None), leaf
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-9, msg=lambda m, leaf=leaf: f'{leaf}: {m}')


def test_routes_and_scans_differ_on_the_same_map():
    """With the same parameters, whatever orders the pixels differently gives another output."""
    x = torch.randn(1, 5, 7, CHANNELS, dtype=torch.float64)
    names = [*route_names(), 'raster.reverse', *(f'raster.{symmetry}' for symmetry in SYMMETRIES)]
    tables = {name: tuple(parse_route(name).order(5, 7).tolist()) for name in names}
    different = list({table: name for name, table in reversed(tables.items())}.values())
    assert len(different) == len(names) - 2  # rotate180 is reverse; a window of 7 as wide as the map is the raster
    outputs = [build(name)(x) for name in different]
    for i, a in enumerate(outputs):
        for b in outputs[:i]:
            assert (a - b).abs().max() > 1e-3


def test_merges_differ_on_the_same_map():
    x = torch.randn(1, 5, 7, CHANNELS, dtype=torch.float64)
    outputs = [build(scan)(x) for scan, _ in SCANS.values()]
    for i, a in enumerate(outputs):
        assert all((a - b).abs().max() > 1e-3 for b in outputs[:i])


# Training.


@pytest.mark.parametrize('scan', ['gated', 'shuffle'])
def test_shuffle_is_drawn_anew_in_training_and_fixed_in_evaluation(scan):
    module, x = build(scan), torch.randn(1, 5, 7, CHANNELS, dtype=torch.float64)
    if isinstance(module, Sum):
        module.mixer.eval()
    assert torch.equal(module(x), module(x))
    module.train()
    assert not torch.equal(module(x), module(x))


def test_search_prefers_the_route_that_helps_and_freezes_to_the_local_scan():
    search, x = build('local_search'), torch.randn(2, 5, 7, CHANNELS, dtype=torch.float64)
    with torch.no_grad():
        search.route_logits.copy_(torch.tensor([0.0, 3, 1, -1, 2, 0.5, 4, -2]))
    names = ['raster.reverse', 'raster.transpose', 'window:2', 'window:7']
    assert search.best_routes() == names
    assert search.freeze(4) == names
    local = build(dict(type='local', routes=names))
    shared = search.state_dict()
    kept = {k: v if k.startswith('gate.') else v[[1, 2, 4, 6]] for k, v in shared.items()}
    local.load_state_dict({k: kept[k] for k in local.state_dict()})
    torch.testing.assert_close(search(x), local(x))
    resumed = build('local_search', seed=1)
    resumed.load_state_dict(shared)
    assert torch.equal(resumed(x), search(x))


def test_freezing_more_routes_than_there_are_is_refused():
    with pytest.raises(ValueError, match='cannot keep 9 of 8 candidate routes'):
        build('local_search').freeze(9)


def test_learned_mask_leaves_pixels_out_of_the_scan():
    module, x = build('adaptive'), torch.randn(1, 4, 5, CHANNELS, dtype=torch.float64)
    with torch.no_grad():
        module.mask.weight.zero_()
        module.mask.bias.fill_(-1.0)
    torch.testing.assert_close(module(x), x)  # all pass by


# Arguments.


@pytest.mark.parametrize(('scan', 'message'), [
    ('zebra', r"scan or route 'zebra' is unknown; scans: .*cross.*zigma.*adaptive, atrous, continuous.*routes: "),
    ('atrous:x', r"atrous stride 'x' must be a whole number of at least 1"),
    ('atrous:0', r'atrous stride 0 must be a whole number'),
    ('multiscale:4', r"scan 'multiscale': full 4 is not 1, 2 or 3"),
    (dict(type='multiscale', interpolation='cubic'), r"interpolation 'cubic' is not 'bilinear' or 'nearest'"),
    ('sparse:2', r"scan 'sparse': keep 2 is no share above 0 and up to 1"),
    ('omnidirectional_channel:3', r"scan 'omnidirectional_channel' takes no argument, got '3'"),
    (dict(type='local', k=3), r"scan 'local' has the unknown arguments \['k'\]; it takes routes, padded"),
    ('local:raster/zebra', r"route 'zebra' is unknown; routes: .*raster"),
    ('grouped:raster/snake/spiral', r"scan 'grouped': 8 channels do not make 3 equal groups"),
    ('bidirectional_3d', r"scan 'bidirectional_3d' is for volumes, this mixer for maps; scans: "),
    ('zigma', r"scan 'zigma' differs between layers, which only a backbone knows; scans: "),
])  # fmt: skip
def test_bad_arguments_are_named(scan, message):
    with pytest.raises(ValueError, match=message):
        build_layer_scan(scan, CHANNELS, StateSpace())


def test_lists_name_routes_and_strings_scans_first():
    assert isinstance(build_layer_scan(['atrous'], CHANNELS, StateSpace()), Scan)
    assert not isinstance(build_layer_scan('atrous', CHANNELS, StateSpace()), Scan)
    assert build_layer_scan('atrous+raster', CHANNELS, StateSpace()).names == build_scan('atrous+raster').names
