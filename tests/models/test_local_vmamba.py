"""LocalVMamba: what the common contract and the golden outputs do not show."""

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.models.backbones.local_vmamba import resolve_arch
from mmmamba.registry import MODELS
from mmmamba.scans.scan import Scan

# Authors' classifiers.
COUNTS = {'tiny': 25_527_160, 'small': 49_748_536}
SMALL = dict(embed_dims=[16, 24, 24, 24], depths=[1, 2, 1, 1], d_state=4)


@pytest.mark.parametrize('arch', COUNTS)
def test_parameter_count_is_the_authors(arch):
    with torch.device('meta'):
        model = MODELS.build(dict(type='LocalVMamba', arch=arch, out_indices=(3,)))
    head = 1000 * (model.out_norms['3'].weight.numel() + 1)
    assert sum(p.numel() for p in model.parameters()) + head == COUNTS[arch]


@pytest.mark.parametrize('arch', COUNTS)
def test_every_block_has_four_different_routes_of_its_own(arch):
    arch = resolve_arch(arch)
    assert len(arch['routes']) == sum(arch['depths'])
    assert all(len(set(routes)) == 4 and Scan(routes) for routes in arch['routes'])


def test_routes_are_those_of_the_block_in_the_published_order():
    routes = resolve_arch('tiny')['routes']
    assert routes[1] == ['raster.reverse', 'raster.transpose.reverse', 'window:2', 'window:2.reverse']
    assert resolve_arch('small')['routes'][32] == ['raster', 'raster.transpose', 'window:7', 'window:7.reverse']


def test_released_inverse_differs_on_maps_that_are_not_square_only():
    arch = dict(SMALL, routes=['raster', 'raster.transpose.reverse'])
    true, released = (
        MODELS.build(dict(type='LocalVMamba', arch=arch, released_inverse=flag)).eval() for flag in (False, True)
    )
    released.load_state_dict(true.state_dict())
    with torch.no_grad():
        for size, same in (((32, 32), True), ((32, 48), False)):
            x = torch.randn(1, 3, *size)
            assert torch.equal(true(x)[-1], released(x)[-1]) == same


def test_a_search_that_has_ended_goes_into_the_authors_layout_and_back_as_one_that_goes_on():
    model, twin = (MODELS.build(dict(type='LocalVMamba', arch=dict(SMALL, routes='search'))) for _ in range(2))
    model.stages[0].blocks[0].mixer.scan.freeze()
    load_weights(twin, export(model))
    scan = twin.stages[0].blocks[0].mixer.scan
    assert torch.equal(scan.route_logits, model.stages[0].blocks[0].mixer.scan.route_logits)
    assert not scan.kept.any()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(arch=dict(SMALL, routes='best')),
            r"arch: routes 'best' is not 'search', a list of routes",
        ),
        (dict(arch=dict(SMALL, routes=[['raster']])), 'has 1 scans for 5 layers'),
        (dict(scan='cross', released_inverse=True), 'released_inverse=True is for the routes of the arch'),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='LocalVMamba', **options))
