"""What is particular to Vim; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch
from torchvision.ops import StochasticDepth

from mmmamba.checkpoints import export, load_weights
from mmmamba.models.backbones.vim import ARCH, Vim

SMALL = dict(embed_dims=16, num_layers=3, img_size=(32, 48), patch_size=8, stride=8, d_state=4)
# With a classifier of 1000 classes.
PUBLISHED_PARAMETERS = {
    'tiny': 7_148_008, 'small': 25_796_584, 'base': 97_598_440, 'small_stride8': 26_001_256,
    'tiny_stride8': 7_148_008 + 533 * 192, 'base_stride8': 97_598_440 + 533 * 768,
}  # fmt: skip


def build(seed=0, **differences):
    torch.manual_seed(seed)
    options = {key: differences.pop(key) for key in ('out_indices', 'out_type') if key in differences}
    return Vim(SMALL | differences, **options).eval()


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = Vim(arch)
    width = ARCH[arch]['embed_dims']
    assert sum(p.numel() for p in model.parameters()) + 1000 * (width + 1) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize('class_token', ['middle', 'head', 'ends', 'none'])
@pytest.mark.parametrize('size', [(32, 48), (5, 7), (65, 41)], ids=str)
def test_any_size_gives_maps_without_the_class_token(class_token, size):
    outs = build(class_token=class_token, out_indices=(0, 2))(torch.randn(1, 3, *size))
    assert [out.shape for out in outs] == [(1, 16, max(1, size[0] // 8), max(1, size[1] // 8))] * 2


def test_pooled_is_the_normed_class_token():
    maps, pooled = build(), build(out_type='pooled')
    pooled.load_state_dict(maps.state_dict())
    seen = []
    maps.out_norms['2'].register_forward_hook(lambda module, inputs, output: seen.append(output))
    x = torch.randn(2, 3, 32, 48)
    (found,) = pooled(x)
    maps(x)
    torch.testing.assert_close(found, seen[0][:, 12])  # the middle of 24 patches


def test_rotation_of_the_update_alone_differs_from_that_of_the_stream():
    x, outs = torch.randn(1, 3, 32, 48), []
    for rope_residual in (True, False):
        outs.append(build(class_token='none', rope=True, rope_residual=rope_residual)(x)[0])
    assert not torch.allclose(*outs)


def test_drop_path_grows_linearly():
    rates = [m.p for m in Vim(SMALL, drop_path_rate=0.4).modules() if isinstance(m, StochasticDepth)]
    assert rates == [0.0, 0.2, 0.4]


@pytest.mark.parametrize('class_token', ['middle', 'head', 'ends', 'none'])
def test_weights_of_another_image_size_are_resized_on_loading(class_token):
    small, large = build(img_size=32, class_token=class_token), build(1, img_size=(64, 48), class_token=class_token)
    report = load_weights(large, export(small))
    assert report.adapted == {'pos_embed.weight': 'made for a grid of 8x6'}
    x = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(large(x)[0], small(x)[0])


@pytest.mark.parametrize(
    ('differences', 'message'),
    [
        (dict(class_token='tail'), r"class_token 'tail' is not one of \['ends', 'head', 'middle', 'none'\]"),
        (dict(rope=True), 'a rotary embedding has no place for class tokens'),
        (dict(out_type='cls'), r"out_type 'cls' is not one of \('featmap', 'pooled'\)"),
    ],
    ids=['token', 'rope', 'out_type'],
)
def test_bad_arguments_are_named(differences, message):
    with pytest.raises(ValueError, match=message):
        build(**differences)
