"""What is particular to RSMamba; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.models.backbones.rsmamba import ARCH, PATHS, RSMamba, RSMambaLayer, fixed_tables, resolve_arch

SMALL = dict(embed_dims=16, num_layers=3, img_size=(48, 32), d_state=4)
# With a classifier of 21 classes and the norm before it; base as counted on the authors' code.
PARAMETERS = {'base': 6_381_141}


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = RSMamba(arch)
    width = ARCH[arch]['embed_dims']
    assert sum(p.numel() for p in model.parameters()) + 2 * width + 21 * (width + 1) == PARAMETERS[arch]


@pytest.mark.parametrize(('size', 'grid'), [((48, 32), (6, 4)), ((50, 33), (7, 5)), ((1, 1), (1, 1))], ids=str)
def test_maps_have_an_eighth_of_the_size_rounded_up(size, grid):
    with torch.no_grad():
        outs = RSMamba(SMALL, out_indices=(0, -1)).eval()(torch.randn(1, 3, *size))
    assert [tuple(out.shape) for out in outs] == [(1, 16, *grid), (1, 16, *grid)]


@pytest.mark.parametrize('class_token', ['head', 'middle', 'tail'])
def test_the_class_token_is_given_in_place_of_the_map(class_token):
    model = RSMamba(dict(SMALL, class_token=class_token), out_type='cls_token').eval()
    x = torch.randn(2, 3, 48, 32)
    with torch.no_grad():
        (token,) = model(x)
        model.out_type = 'featmap'
        (patches,) = model(x)
    assert token.shape == (2, 16)
    assert patches.shape == (2, 16, 6, 4)
    assert not torch.isclose(patches, token[..., None, None]).all(1).any()


def test_training_draws_a_new_order_and_evaluation_repeats_its_own():
    torch.manual_seed(0)
    model, x = RSMamba(SMALL).double(), torch.randn(1, 3, 48, 32, dtype=torch.float64)
    with torch.no_grad():
        assert not torch.equal(model.train()(x)[0], model(x)[0])
        assert torch.equal(model.eval()(x)[0], model(x)[0])
    first, second = (fixed_tables(layer, 3, 24, torch.device('cpu'))[2] for layer in (0, 1))
    assert first.tolist() != second.tolist()


@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('paths', PATHS)
def test_paths_are_the_mixer_in_each_order_mixed_for_each_image(paths, bias):
    torch.manual_seed(0)
    layer = RSMambaLayer(resolve_arch(dict(SMALL, paths=paths, bias=bias)), 0.0).double()
    x, normed = torch.randn(2, 2, 5, 16, dtype=torch.float64)
    tables = fixed_tables(0, layer.paths, 5, torch.device('cpu'))
    outs = [layer.mixer(normed[:, order])[:, order.argsort()] for order in tables]
    weights = torch.full((2, layer.paths), 1 / layer.paths, dtype=torch.float64)
    if layer.gate is not None:
        weights = torch.cat([out.mean(1) for out in outs], -1) @ layer.gate.weight.T
        weights = weights.exp() / weights.exp().sum(-1, keepdim=True)
    expected = x + torch.einsum('bk,kblc->blc', weights, torch.stack(outs))
    torch.testing.assert_close(layer(x, normed, tables), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            dict(out_type='cls_token'),
            r"out_type 'cls_token' must be 'featmap', or 'cls_token' if arch has a class_token",
        ),
        (dict(out_type='raw'), r"out_type 'raw' must be 'featmap'"),
        (dict(arch=dict(SMALL, paths='sideways')), r"arch: paths 'sideways' is not one of \['forward', "),
        (
            dict(arch=dict(SMALL, class_token='top')),
            r"arch: class_token 'top' is not one of \['head', 'middle', 'none', 'tail'\]",
        ),
    ],
    ids=['no token', 'type', 'paths', 'token'],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        RSMamba(**dict(arch=SMALL) | arguments)
