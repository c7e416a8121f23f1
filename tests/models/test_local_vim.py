"""What is particular to LocalVim; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.models.backbones.local_vim import ARCH, SEARCHED, LocalVim

SMALL = dict(embed_dims=16, num_layers=2, img_size=(32, 48), patch_size=8, d_state=4)
COLUMNS = dict(routes=['raster.transpose', 'raster.transpose.reverse'])
# With a classifier of 1000 classes.
PUBLISHED_PARAMETERS = {
    'tiny': 7_994_152, 'small': 27_783_784, 'tiny_middle_token': 7_994_536, 'tiny_unsearched': 7_994_152,
    'small_unsearched': 27_783_784,
}  # fmt: skip


def build(seed=0, **differences):
    torch.manual_seed(seed)
    options = {key: differences.pop(key) for key in ('released_inverse', 'out_type') if key in differences}
    return LocalVim(SMALL | differences, **options).eval()


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = LocalVim(arch)
    width = ARCH[arch]['embed_dims']
    assert sum(p.numel() for p in model.parameters()) + 1000 * (width + 1) == PUBLISHED_PARAMETERS[arch]


def test_the_searched_routes_are_four_for_each_layer():
    assert [len(set(routes)) for routes in SEARCHED] == [4] * 20
    assert SEARCHED[0] == ['raster', 'raster.transpose.reverse', 'window:7', 'window:7.reverse']


@pytest.mark.parametrize('differences', [{}, dict(class_token='middle', rope=False), dict(routes='search')], ids=str)
@pytest.mark.parametrize('size', [(32, 48), (5, 7), (65, 41)], ids=str)
def test_any_size_gives_maps_with_sizes_rounded_up(size, differences):
    (out,) = build(**differences)(torch.randn(1, 3, *size))
    assert out.shape == (1, 16, -(-size[0] // 8), -(-size[1] // 8))
    assert out.isfinite().all()


def test_the_released_inverse_matters_on_maps_that_are_not_square_only():
    released, right = build(released_inverse=True, **COLUMNS), build(**COLUMNS)
    square, other = torch.randn(1, 3, 32, 32), torch.randn(1, 3, 32, 48)
    assert torch.equal(released(square)[0], right(square)[0])
    assert not torch.allclose(released(other)[0], right(other)[0])


def test_weights_of_another_image_size_are_resized_on_loading():
    small, large = (build(seed, img_size=s, class_token='middle', rope=False) for seed, s in ((0, 32), (1, (64, 48))))
    assert load_weights(large, export(small)).adapted == {'pos_embed.weight': 'made for a grid of 8x6'}
    x = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(large(x)[0], small(x)[0])


@pytest.mark.parametrize(
    ('differences', 'message'),
    [
        (dict(routes='cross'), r"routes 'cross' is not 'search', a list of routes, or such a list for each layer"),
        (dict(routes=[['raster']] * 3), r'routes for 3 layers, but num_layers is 2; give one list for each'),
        (dict(class_token='middle'), 'a rotary embedding has no place for class tokens'),
    ],
    ids=['routes', 'layers', 'rope'],
)
def test_bad_arguments_are_named(differences, message):
    with pytest.raises(ValueError, match=message):
        build(**differences)
