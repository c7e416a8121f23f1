"""What is particular to Mamba-ND; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.models.backbones.mamba_nd import ARCH, MambaND, MambaNDLayer, resolve_arch

SMALL = dict(embed_dims=16, num_layers=6, img_size=(32, 48), patch_size=4, downsample_layers=(1, 3), d_state=4)
# With a classifier of 1000 classes and the norm before it; counted on the authors' code.
PUBLISHED_PARAMETERS = {'small': 24_505_192, 'base': 94_425_832}


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = MambaND(arch)
    width = ARCH[arch]['embed_dims']
    assert sum(p.numel() for p in model.parameters()) + 2 * width + 1000 * (width + 1) == PUBLISHED_PARAMETERS[arch]


def test_layers_take_turns_in_rows_and_columns_both_ways():
    model = MambaND(SMALL)
    turns = ['raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse', 'raster', 'raster.reverse']
    assert [layer.mixer.scan.names for layer in model.layers] == [(turn,) for turn in turns]


def test_maps_are_given_before_they_are_halved():
    with torch.no_grad():
        outs = MambaND(SMALL, out_indices=range(6)).eval()(torch.randn(1, 3, 33, 44))
    assert [tuple(out.shape[2:]) for out in outs] == [(9, 11), (9, 11), (5, 6), (5, 6), (3, 3), (3, 3)]


def test_a_halving_behind_the_last_layer_is_part_of_it():
    """As in the authors' code; else it would be built and never used."""
    model = MambaND(dict(SMALL, downsample_layers=(5,)), out_indices=(4, 5)).eval()
    with torch.no_grad():
        before, behind = model(torch.randn(1, 3, 32, 48))
    assert (before.shape[2:], behind.shape[2:]) == ((8, 12), (4, 6))


def test_the_skip_carries_the_normed_map():
    layer = MambaNDLayer(resolve_arch(SMALL), 'raster', 0.0)
    torch.nn.init.zeros_(layer.mixer.out_proj.weight)
    x = 3 + 2 * torch.randn(1, 4, 5, 16)
    torch.testing.assert_close(layer(x), layer.norm(x))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(scan='cross'), r"scan 'cross' has 4 routes; this mixer walks one"),
        (dict(arch=dict(SMALL, downsample_layers=(6,))), r'downsample_layers \(6,\) must be indices of the 6 layers'),
    ],
    ids=['scan', 'layer'],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MambaND(**dict(arch=SMALL) | arguments)
