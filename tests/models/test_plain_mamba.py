"""What is particular to PlainMamba; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.layers.scans import ContinuousScan
from mmmamba.models.backbones.plain_mamba import ARCH, PlainMamba

SMALL = dict(embed_dims=16, num_layers=3, img_size=(48, 32), d_state=4)
# Without a head, as the paper counts them.
PUBLISHED_PARAMETERS = {'l1': 7_358_656, 'l2': 25_760_832, 'l3': 50_507_456}


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = PlainMamba(arch)
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize(('size', 'grid'), [((48, 32), (3, 2)), ((50, 33), (4, 3)), ((1, 1), (1, 1))], ids=str)
def test_maps_have_a_sixteenth_of_the_size_rounded_up(size, grid):
    with torch.no_grad():
        outs = PlainMamba(SMALL, out_indices=(0, -1)).eval()(torch.randn(1, 3, *size))
    assert [tuple(out.shape) for out in outs] == [(1, 16, *grid), (1, 16, *grid)]


def test_without_the_final_norm_only_the_last_map_is_left_as_it_is():
    torch.manual_seed(0)
    plain, normed = (PlainMamba(SMALL, out_indices=(1, 2), final_norm=final).eval() for final in (False, True))
    assert list(plain.out_norms) == ['1']
    normed.load_state_dict({**normed.state_dict(), **plain.state_dict()})
    x = torch.randn(1, 3, 48, 32)
    with torch.no_grad():
        (first, last), (same, expected) = plain(x), normed(x)
    assert torch.equal(first, same)
    torch.testing.assert_close(normed.out_norms['2'](last.permute(0, 2, 3, 1)), expected.permute(0, 2, 3, 1))


def test_the_published_scan_can_be_replaced_by_the_one_of_the_paper():
    torch.manual_seed(0)
    model, other = (
        PlainMamba(SMALL, scan=scan).double().eval() for scan in (dict(type='continuous', released=True), 'continuous')
    )
    assert all(isinstance(layer.mixer.scan, ContinuousScan) for layer in model.layers)
    other.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 48, 32, dtype=torch.float64)
    with torch.no_grad():
        assert (model(x)[0] - other(x)[0]).abs().max() > 1e-8


def test_only_named_layers_have_a_depthwise_convolution():
    with torch.device('meta'):
        model = PlainMamba(dict(SMALL, dwconv_layers=(0, 2)))
    assert [layer.dwconv is not None for layer in model.layers] == [True, False, True]
