"""VMamba: published sizes, any image, indices, freezing and scans."""

import copy
import importlib
import pickle
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from mmmamba.models.backbones.vmamba import ARCH, VMamba
from mmmamba.ops import use_backend
from mmmamba.registry import MODELS

SMALL = dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1], drop_path_rate=0.2)
SMALL_V0 = dict(
    SMALL, d_state=4, conv_bias=True, gate=True, mlp_ratio=0.0, patch_embed='v1', downsample='v1', drop_path_rate=0.0
)
# Small ones of every kind; what holds for every backbone of the project is tested in test_backbone_contract.py.
BACKBONES = {
    'vmamba': partial(VMamba, SMALL),
    'vmamba, ratio 1': partial(VMamba, dict(SMALL, ssm_ratio=1.0)),
    'vmamba, v0': partial(VMamba, SMALL_V0),
    'vmamba, 2x2 downsampling, patches of 2': partial(VMamba, dict(SMALL, downsample='v2', patch_size=2)),
    'vmamba, BN': partial(VMamba, dict(SMALL, norm='BN')),
    'vmamba, two stages, bidirectional': partial(
        VMamba, dict(embed_dims=[16, 24], depths=[1, 1]), out_indices=(0, 1), scan='bidirectional'
    ),
}


def build(name='vmamba', seed=0, **options):
    torch.manual_seed(seed)
    return BACKBONES[name](**options)


def loss_of(model, x):
    return sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).mean() for out in model(x))


# Each of them.


@pytest.mark.parametrize('size', [(64, 64), (65, 97)], ids=str)
@pytest.mark.parametrize('name', BACKBONES)
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name, size):
    model = build(name).train()
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0  # a dropped branch has no gradient
    loss_of(model, torch.randn(2, 3, *size)).backward()
    bad = [n for n, p in model.named_parameters() if p.grad is None or not 0 < p.grad.abs().max() < float('inf')]
    assert not bad


@pytest.mark.parametrize('size', [(1, 1), (5, 7), (65, 97), (33, 128)], ids=str)
@pytest.mark.parametrize('name', BACKBONES)
def test_any_size_gives_finite_maps_with_the_channels_of_the_stages(name, size):
    model = build(name).eval()
    with torch.no_grad():
        outs = model(torch.randn(2, 3, *size))
    assert [out.shape[:2] for out in outs] == [(2, norm.normalized_shape[0]) for norm in model.out_norms.values()]
    for larger, smaller in zip(outs, outs[1:], strict=False):
        assert smaller.shape[2:] == tuple(-(-side // 2) for side in larger.shape[2:])
    assert all(out.isfinite().all() for out in outs)


@pytest.mark.parametrize('name', BACKBONES)
def test_an_image_does_not_depend_on_its_batch(name):
    model = build(name).eval()
    x = torch.randn(3, 3, 33, 47)
    with torch.no_grad():
        together, alone = model(x), model(x[1:2])
    for a, b in zip(together, alone, strict=True):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', BACKBONES)
def test_recomputing_blocks_gives_the_same_gradients(name):
    plain, recomputing = build(name).train(), build(name, with_cp=True).train()
    x = torch.randn(2, 3, 33, 47)
    gradients = []
    for model in (plain, recomputing):
        torch.manual_seed(5)  # drop path draws the same
        loss_of(model, x).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(gradients[1][n], g) for n, g in gradients[0].items())


@pytest.mark.parametrize('duplicate', [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=['copy', 'pickle'])  # noqa: S301
@pytest.mark.parametrize('name', BACKBONES)
def test_a_copy_computes_the_same_and_shares_nothing(name, duplicate):
    model = build(name).eval()
    x = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        before = model(x)
        twin = duplicate(model)
        for parameter in model.parameters():
            parameter.zero_()
        after = twin(x)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize('name', BACKBONES)
def test_bf16_autocast_gives_finite_maps_and_gradients(name):
    model = build(name).train()
    with torch.autocast('cpu', torch.bfloat16):
        outs = model(torch.randn(2, 3, 33, 47))
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize('name', BACKBONES)
def test_the_graph_compiles_whole(name):
    model = build(name).eval()
    compiled = torch.compile(model, fullgraph=True, backend='eager')
    x = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        for a, b in zip(compiled(x), model(x), strict=True):
            torch.testing.assert_close(a, b)


# Published architectures.

# Millions of parameters with a classifier of 1000 classes, worked out from the papers and the released files.
PUBLISHED_PARAMETERS = {
    'v0_tiny': 22.893448, 'v0_small': 44.417416, 'v0_base': 76.254056, 'tiny_s2l5': 30.705832, 'small_s2l15': 50.147752,
    'base_s2l15': 88.557800, 'tiny_s1l8': 30.249064, 'small_s1l20': 49.012840, 'base_s1l20': 86.614504,
    'tiny': 30.249064, 'small': 50.147752, 'base': 88.557800,
}  # fmt: skip
PUBLISHED_DROP_PATH = {
    'v0_tiny': 0.2, 'v0_small': 0.3, 'v0_base': 0.6, 'tiny_s2l5': 0.2, 'small_s2l15': 0.3, 'base_s2l15': 0.6,
    'tiny_s1l8': 0.2, 'small_s1l20': 0.3, 'base_s1l20': 0.5, 'tiny': 0.2, 'small': 0.3, 'base': 0.6,
}  # fmt: skip


def test_every_architecture_has_a_published_count_and_rate():
    assert set(ARCH) == set(PUBLISHED_PARAMETERS) == set(PUBLISHED_DROP_PATH)


@pytest.mark.parametrize('arch', sorted(ARCH))
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = VMamba(arch, out_indices=(3,))
    width = ARCH[arch]['embed_dims'][-1]
    assert sum(p.numel() for p in model.parameters()) + 1000 * (width + 1) == round(PUBLISHED_PARAMETERS[arch] * 1e6)


def drop_path_rates(model):
    return [module.p for module in model.modules() if isinstance(module, StochasticDepth)]


@pytest.mark.parametrize('arch', sorted(ARCH))
def test_drop_path_grows_linearly_to_the_published_rate(arch):
    with torch.device('meta'):
        model = VMamba(arch)
    expected = torch.linspace(0, PUBLISHED_DROP_PATH[arch], sum(ARCH[arch]['depths']))
    torch.testing.assert_close(torch.tensor(drop_path_rates(model)), expected)


def test_drop_path_rate_overrides_that_of_the_arch():
    torch.testing.assert_close(drop_path_rates(build(drop_path_rate=0.4)), [0.0, 0.1, 0.2, 0.30000000000000004, 0.4])


def test_drop_path_drops_in_training_and_not_in_evaluation():
    model, x = build(drop_path_rate=0.9), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(x)[-1], model(x)[-1])
        assert not torch.equal(model.train()(x)[-1], model(x)[-1])


# Options.


@pytest.mark.parametrize('channels', [1, 3, 5])
@pytest.mark.parametrize('name', ['vmamba', 'vmamba, v0'])
def test_any_number_of_input_channels(name, channels):
    outs = build(name, in_channels=channels)(torch.randn(2, channels, 32, 32))
    assert [tuple(out.shape) for out in outs] == [(2, 16, 8, 8), (2, 24, 4, 4), (2, 32, 2, 2), (2, 40, 1, 1)]


@pytest.mark.parametrize('out_indices', [(0,), (3,), (1, 3), (0, 1, 2, 3), (-1,), (-4, 2), [3, 1], (3, -1)], ids=str)
def test_out_indices_choose_the_maps_in_order_of_depth(out_indices):
    everything, x = build().eval(), torch.randn(1, 3, 33, 47)
    chosen = build(out_indices=out_indices).eval()
    chosen.load_state_dict({k: v for k, v in everything.state_dict().items() if k in chosen.state_dict()})
    wanted = sorted({i % 4 for i in out_indices})
    with torch.no_grad():
        expected, found = everything(x), chosen(x)
    assert len(found) == len(wanted)
    assert all(torch.equal(out, expected[i]) for out, i in zip(found, wanted, strict=True))


def test_out_indices_are_not_written_to():
    out_indices = [3, -4]
    build(out_indices=out_indices)
    assert out_indices == [3, -4]


FROZEN = {  # frozen_stages: prefixes of what stands still
    -1: (),
    0: ('patch_embed.',),
    1: ('patch_embed.', 'stages.0.', 'out_norms.0.'),
    3: ('patch_embed.', *(f'{part}.{i}.' for part in ('stages', 'out_norms') for i in range(3))),
    4: ('patch_embed.', 'stages.', 'out_norms.'),
}


@pytest.mark.parametrize('frozen_stages', FROZEN)
@pytest.mark.parametrize('with_cp', [False, True], ids=['plain', 'with_cp'])
def test_frozen_stages_get_no_gradient_and_the_rest_does(frozen_stages, with_cp):
    model = build(frozen_stages=frozen_stages, with_cp=with_cp, drop_path_rate=0.0).train()
    x = torch.randn(2, 3, 33, 47)
    loss = loss_of(model, x)
    if frozen_stages < 4:
        loss.backward()
    still = {n for n, p in model.named_parameters() if n.startswith(FROZEN[frozen_stages])}
    assert {n for n, p in model.named_parameters() if p.grad is None} == still
    assert {n for n, p in model.named_parameters() if not p.requires_grad} == still


@pytest.mark.parametrize('frozen_stages', FROZEN)
def test_frozen_stages_stay_in_evaluation_mode(frozen_stages):
    model = build('vmamba, BN', frozen_stages=frozen_stages)
    for _ in range(2):  # an epoch, validation, the next epoch
        model.eval()
        assert not any(module.training for module in model.modules())
        assert model.train() is model
        modes = {name: module.training for name, module in model.named_modules() if not list(module.children())}
        assert modes == {name: not f'{name}.'.startswith(FROZEN[frozen_stages]) for name in modes}


def test_frozen_batch_norm_keeps_its_statistics():
    model = build('vmamba, BN', frozen_stages=1).train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(torch.randn(2, 3, 32, 32))
    changed = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    still = {name for name in before if name.startswith(FROZEN[1])}
    assert changed == set(before) - still
    assert changed
    assert still


def test_frozen_stages_do_not_drop_paths():
    model, x = build(drop_path_rate=0.9, frozen_stages=4).train(), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model(x)[-1], model(x)[-1])


def strengthen(model):
    """Weights under which the state, and with it the order of the pixels, shows in the output."""
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        leaf = name.rpartition('.')[2]
        if leaf == 'x_proj_weight':
            nn.init.normal_(parameter)
        elif leaf in ('dt_proj_bias', 'D'):
            nn.init.zeros_(parameter)
        elif leaf == 'A_log':
            nn.init.constant_(parameter, -2.0)
        elif leaf == 'weight' and parameter.dim() > 1:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    return model


ORDERS = {
    'bidirectional': 'bidirectional',
    'two routes': ['raster', 'raster.transpose'],
    'one route': 'raster.reverse',
    'cross in another order': ['raster', 'raster.reverse', 'raster.transpose', 'raster.transpose.reverse'],
}


@pytest.mark.parametrize('scan', ORDERS)
def test_scan_changes_the_output(scan):
    cross, other = strengthen(build().eval()), build(scan=ORDERS[scan]).eval()
    routes = len(other.stages[0].blocks[0].mixer.scan)
    per_route = ('x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A_log', 'D')
    weights = cross.state_dict().items()
    other.load_state_dict({k: v[:routes] if k.rpartition('.')[2] in per_route else v for k, v in weights})
    x = torch.randn(1, 3, 33, 47)
    with torch.no_grad():
        difference, spread = (other(x)[-1] - cross(x)[-1]).std(), cross(x)[-1].std()
    assert difference > 0.1 * spread


def test_both_backends_give_the_same_maps():
    model, x = build('vmamba, v0').double().eval(), torch.randn(1, 3, 33, 47, dtype=torch.float64)
    with torch.no_grad(), use_backend('torch'):
        expected = model(x)
    with torch.no_grad(), use_backend('numba'):
        for a, b in zip(model(x), expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


# The registry.


@pytest.mark.parametrize('library', ['mmdet', 'mmseg', 'mmpretrain', 'mmengine'])
def test_every_library_builds_it_by_its_scoped_name(library):
    registry = importlib.import_module(f'{library}.registry').MODELS
    model = registry.build(dict(type='mmmamba.VMamba', arch=SMALL, out_indices=(1, 3)))
    assert isinstance(model, VMamba)
    assert model.out_indices == (1, 3)


def test_our_registry_builds_it_by_its_name():
    assert isinstance(MODELS.build(dict(type='VMamba', arch=SMALL)), VMamba)


def test_linear_layers_start_as_published_and_scan_parameters_are_left_alone():
    model = VMamba(dict(SMALL, embed_dims=[128, 128, 128, 128]))
    block = model.stages[1].blocks[0]
    for linear in (block.mixer.in_proj, block.mlp.fc1, block.mlp.fc2):
        assert 0.018 < linear.weight.std() < 0.022
    assert torch.equal(block.mlp.fc1.bias, torch.zeros(512))
    assert torch.equal(block.mixer.D, torch.ones_like(block.mixer.D))
    before = model.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    model.init_weights()  # a runner calls it; without init_cfg it changes nothing
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


# Bad arguments.

BAD_ARGUMENTS = {
    'arch': (
        dict(arch='nano'),
        r"arch 'nano' is not one of \['base', .*'v0_tiny'\]; name one of them or pass a dict with",
    ),
    'key of arch': (
        dict(arch=dict(SMALL, width=3)),
        r"arch has the unknown keys \['width'\]; it may have \['embed_dims'",
    ),
    'stages': (dict(arch=dict(embed_dims=[8, 16], depths=[1])), r'embed_dims=\[8, 16\] and depths=\[1\]'),
    'no stages': (dict(arch=dict(depths=[1])), r'needs embed_dims and depths with a number for each stage'),
    'patch embed': (dict(arch=dict(SMALL, patch_embed='v3')), r"patch_embed 'v3' is not one of \['v1', 'v2'\]"),
    'downsample': (dict(arch=dict(SMALL, downsample='v4')), r"downsample 'v4' is not one of \['v1', 'v2', 'v3'\]"),
    'stem': (dict(arch=dict(SMALL, patch_size=8)), r"patch_size 8 of patch embedding 'v2' must be 2 or 4"),
    'index': (dict(out_indices=(0, 4)), r'out_indices \(0, 4\) must name at least one of the stages 0 to 3'),
    'negative index': (dict(out_indices=(-5,)), r'out_indices \(-5,\) must name at least one of the stages 0 to 3'),
    'no index': (dict(out_indices=()), r'out_indices \(\) must name at least one'),
    'frozen': (dict(frozen_stages=5), r'frozen_stages 5 is not between -1 \(none\) and 4 \(all stages\)'),
    'frozen below': (dict(frozen_stages=-2), r'frozen_stages -2 is not between'),
    'drop path': (dict(drop_path_rate=1.5), r'drop_path_rate 1.5 is not between 0 and 1'),
    'negative drop path': (dict(drop_path_rate=-0.1), r'drop_path_rate -0.1 is not between 0 and 1'),
    'scan': (dict(scan='zebra'), r"scan or route 'zebra' is unknown; scans: "),
}


@pytest.mark.parametrize('case', BAD_ARGUMENTS)
def test_bad_arguments_are_named(case):
    arguments, message = BAD_ARGUMENTS[case]
    with pytest.raises(ValueError, match=message):
        VMamba(**dict(arch=SMALL) | arguments)
