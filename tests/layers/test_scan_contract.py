"""What every scan promises as part of a mixer, so that a new one is tested before anybody writes a test for it."""

import copy
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from mmmamba.layers import SS2D
from mmmamba.scans import NAMED_SCANS, SCAN_MODULES, build_scan, route_names

SCANS = [
    *(name for name in NAMED_SCANS if build_scan(name).axes == 2),
    *SCAN_MODULES.module_dict,
    *(route for route in route_names() if route != 'raster'),
    'raster+atrous:3+hilbert.reverse',
    dict(type='continuous', released=True),
    dict(type='local', padded=True),
]
ONE_OF_EACH = ['cross', 'hilbert_shifted', *SCAN_MODULES.module_dict, dict(type='local', padded=True)]


def build(scan, **options):
    torch.manual_seed(0)
    return SS2D(8, scan=scan, d_state=2, **options)


@pytest.mark.parametrize('scan', SCANS, ids=str)
def test_every_parameter_gets_a_gradient(scan):
    mixer = build(scan).train()
    y = mixer(torch.randn(2, 5, 7, 8))
    (y * torch.randn_like(y)).sum().backward()
    bad = [n for n, p in mixer.named_parameters() if p.grad is None or not 0 < p.grad.abs().max() < float('inf')]
    assert not bad


@pytest.mark.parametrize('size', [(1, 1), (2, 1), (1, 5), (9, 4)], ids=str)
@pytest.mark.parametrize('scan', SCANS, ids=str)
def test_any_size_gives_a_finite_map_of_that_size(scan, size):
    with torch.no_grad():
        y = build(scan).train()(torch.randn(2, *size, 8))
    assert y.shape == (2, *size, 8)
    assert y.isfinite().all()


@pytest.mark.parametrize('scan', SCANS, ids=str)
def test_an_image_does_not_depend_on_its_batch(scan):
    mixer, x = build(scan).eval(), torch.randn(3, 5, 7, 8)
    with torch.no_grad():
        torch.testing.assert_close(mixer(x)[1:2], mixer(x[1:2]), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize('scan', ONE_OF_EACH, ids=str)
def test_bf16_autocast_gives_finite_gradients(scan):
    mixer = build(scan, state_dropout=0.2).train()
    with torch.autocast('cpu', torch.bfloat16):
        y = mixer(torch.randn(2, 5, 7, 8))
    y.float().square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in mixer.parameters())


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=['copy', 'pickle'])  # noqa: S301
@pytest.mark.parametrize('scan', ONE_OF_EACH, ids=str)
def test_a_copy_computes_the_same(scan, duplicate):
    mixer, x = build(scan).eval(), torch.randn(1, 5, 7, 8)
    with torch.no_grad():
        assert torch.equal(duplicate(mixer)(x), mixer(x))


@pytest.mark.parametrize('scan', ['cross', 'shuffle', 'gated'])
def test_recomputing_draws_the_same_shuffle_and_states(scan):
    mixer, x = build(scan, state_dropout=0.5).train(), torch.randn(1, 5, 7, 8)
    gradients = []
    for recompute in (False, True):
        mixer.zero_grad()
        torch.manual_seed(3)
        y = checkpoint(mixer, x, use_reentrant=False) if recompute else mixer(x)
        y.square().sum().backward()
        gradients.append([p.grad.clone() for p in mixer.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize('scan', ONE_OF_EACH, ids=str)
def test_the_graph_compiles_whole_for_all_sizes(scan):
    torch._dynamo.reset()
    mixer = build(scan).eval()
    compiled = torch.compile(mixer, fullgraph=True, backend='eager', dynamic=True)
    with torch.no_grad():
        for size in ((4, 6), (5, 7), (9, 8)):
            x = torch.randn(1, *size, 8)
            torch.testing.assert_close(compiled(x), mixer(x))
