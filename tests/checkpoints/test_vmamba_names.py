"""The key map of VMamba: every release, both ways."""

import json
import re
from pathlib import Path

import pytest
import torch
from vmamba_files import ARCHS, backbone, classifier, same_weights, small_arch

from mmmamba.checkpoints import CheckpointError, export, load_weights
from mmmamba.checkpoints.vmamba import (
    VMAMBA,
    arch_from_published_kwargs,
    is_published,
    model_config,
    to_ours,
)
from mmmamba.models.backbones.vmamba import ARCH, VMamba, resolve_arch
from mmmamba.registry import MODELS

DATA = Path(__file__).parents[1] / 'data' / 'conformance' / 'vmamba'


@pytest.mark.parametrize('arch', ARCHS)
@pytest.mark.parametrize('build', [backbone, classifier], ids=['dense', 'classifier'])
def test_published_weights_come_back_as_they_went(arch, build):
    model = build(small_arch(arch))
    twin = build(small_arch(arch), seed=1)
    published = export(model)
    assert is_published(published)
    report = load_weights(twin, dict(model=published))
    assert same_weights(twin, model)
    assert report.matched == list(model.state_dict())
    assert not report.missing + report.unexpected + list(report.adapted)
    assert same_weights(export(twin), published)


@pytest.mark.parametrize('case', ['custom_small', 'custom_small_v0', 'backbone_tiny_s1l8', 'vanilla_tiny', 'tiny_s1l8'])
def test_export_has_the_names_shapes_and_order_of_the_authors_model(case):
    info = json.loads((DATA / f'{case}.json').read_text())
    with torch.device('meta'):
        model = MODELS.build(model_config(info['constructor'], info['kwargs']))
    found = [[name, list(tensor.shape)] for name, tensor in export(model).items()]
    assert found == [entry[:2] for entry in info['state_dict']]


OLD_NAMES = [
    (r'^patch_embed\.0\.', 'patch_embed.proj.'),
    (r'^patch_embed\.2\.', 'patch_embed.norm.'),
    (r'(blocks\.\d+)\.norm\.', r'\1.ln_1.'),
    (r'\.op\.', '.self_attention.'),
    (r'^classifier\.norm\.', 'norm.'),
    (r'^classifier\.head\.', 'head.'),
]


def renamed(weights, pairs):
    for pattern, replacement in pairs:
        before, weights = weights, {re.sub(pattern, replacement, name): value for name, value in weights.items()}
        assert set(weights) != set(before), pattern
    return weights


@pytest.mark.parametrize('arch', ['v0_tiny', 'v0_small', 'v0_base'])
def test_names_of_the_first_release_are_read(arch):
    model, twin = classifier(small_arch(arch)), classifier(small_arch(arch), seed=1)
    load_weights(twin, dict(model=renamed(export(model), OLD_NAMES)))
    assert same_weights(twin, model)


def test_a_first_release_backbone_without_a_classifier_is_read():
    model, twin = (backbone(small_arch('v0_tiny'), seed=seed) for seed in (0, 1))
    load_weights(twin, renamed(export(model), OLD_NAMES[:4]))
    assert same_weights(twin, model)


@pytest.mark.parametrize(
    'shape', [lambda w: w, lambda w: w.flatten(0, 1).unsqueeze(-1)], ids=['stacked', 'grouped conv']
)
def test_newest_names_of_the_projections_are_read(shape):
    model, twin = classifier(), classifier(seed=1)
    pairs = [(r'\.x_proj_weight$', '.x_proj.weight'), (r'\.dt_projs_weight$', '.dt_projs.weight')]
    weights = renamed(export(model), pairs)
    weights = {n: shape(w) if n.endswith(('x_proj.weight', 'dt_projs.weight')) else w for n, w in weights.items()}
    load_weights(twin, dict(model=weights))
    assert same_weights(twin, model)


@pytest.mark.parametrize('arch', ARCHS)
def test_linear_weights_stored_as_pointwise_convolutions_are_read(arch):
    model, twin = classifier(small_arch(arch)), classifier(small_arch(arch), seed=1)
    linear = ('in_proj.weight', 'out_proj.weight', 'fc1.weight', 'fc2.weight', 'head.weight', 'reduction.weight')
    weights = {n: w[..., None, None] if n.endswith(linear) else w for n, w in export(model).items()}
    assert sum(w.dim() == 4 for w in weights.values()) > sum(w.dim() == 4 for w in export(model).values())
    load_weights(twin, dict(model=weights))
    assert same_weights(twin, model)


def test_a_name_without_a_place_is_an_error():
    weights = export(classifier()) | {'layers.0.blocks.0.op.relative_bias': torch.ones(1)}
    with pytest.raises(
        CheckpointError, match='1 names have no place in the key map: layers.0.blocks.0.op.relative_bias'
    ):
        to_ours(weights)


def test_the_same_tensor_under_an_old_and_a_new_name_is_an_error():
    weights = export(classifier())
    weights['layers.0.blocks.0.ln_1.weight'] = weights['layers.0.blocks.0.norm.weight']
    with pytest.raises(CheckpointError, match="two tensors would be named 'backbone.stages.0.blocks.0.norm1.weight'"):
        to_ours(weights)


@pytest.mark.parametrize('leaf', ['out_proj.weight', 'Ds'])
def test_an_incomplete_file_is_named_so(leaf):
    weights = export(classifier())
    del weights[f'layers.1.blocks.0.op.{leaf}']
    with pytest.raises(
        CheckpointError, match=r"the file is incomplete, 'backbone.stages.1.blocks.0.mixer.\S+' is missing"
    ):
        to_ours(weights)


@pytest.mark.parametrize('leaf', ['Ds', 'A_logs', 'x_proj_weight', 'dt_projs_weight', 'out_proj.weight'])
def test_a_tensor_of_an_impossible_size_is_named(leaf):
    weights = export(classifier())
    weights[f'layers.1.blocks.0.op.{leaf}'] = torch.ones(5, 3)
    with pytest.raises(CheckpointError, match=r'stages\.1\.blocks\.0\.mixer\.'):
        load_weights(classifier(), weights)


# Architectures told from shapes.

SHOWS_IN_SHAPES = {
    'embed_dims', 'depths', 'd_state', 'ssm_ratio', 'dt_rank', 'conv_bias', 'gate', 'mlp_ratio', 'patch_embed',
    'downsample',
}  # fmt: skip


@pytest.mark.parametrize('name', sorted(ARCH))
def test_a_published_architecture_is_told_from_its_shapes(name):
    with torch.device('meta'):
        model = VMamba(name)
    held = VMAMBA.infer_arch({f'backbone.{key}': tensor for key, tensor in model.state_dict().items()})
    known = resolve_arch(name)
    assert held == {key: known[key] for key in held}
    assert set(held) == SHOWS_IN_SHAPES
    assert ARCH[eval(VMAMBA.describe_arch(held))] == ARCH[name]


def test_an_architecture_without_a_name_is_described_by_its_dict():
    model = backbone(small_arch(dt_rank=5, downsample='v2'))
    held = VMAMBA.infer_arch({f'backbone.{key}': tensor for key, tensor in model.state_dict().items()})
    described = eval(VMAMBA.describe_arch(held))
    assert described['dt_rank'] == 5
    assert described['downsample'] == 'v2'
    load_weights(backbone(described, seed=1), model.state_dict())


def test_other_tensors_are_not_a_vmamba():
    with pytest.raises(CheckpointError, match='these are not the weights of VMamba: .* is missing'):
        VMAMBA.infer_arch({'backbone.stages.0.blocks.0.attn.qkv.weight': torch.ones(3)})


# Published keyword arguments.


def test_published_arguments_give_the_published_architecture():
    kwargs = dict(
        depths=[2, 2, 8, 2], dims=96, ssm_d_state=1, ssm_ratio=1.0, ssm_conv_bias=False, forward_type='v05_noz',
        mlp_ratio=4.0, downsample_version='v3', patchembed_version='v2', norm_layer='ln2d',
    )  # fmt: skip
    found = arch_from_published_kwargs(kwargs)
    assert found == {key: value for key, value in resolve_arch('tiny_s1l8').items() if key in found}


def test_published_defaults_are_the_authors():
    found = arch_from_published_kwargs({})
    expected = dict(
        depths=[2, 2, 9, 2], embed_dims=[96, 192, 384, 768], d_state=16, ssm_ratio=2.0, dt_rank='auto', conv_bias=True,
        gate=True, mlp_ratio=4.0, patch_embed='v1', patch_size=4, downsample='v2',
    )  # fmt: skip
    assert found == expected


@pytest.mark.parametrize(
    ('forward_type', 'gate'),
    [('v0', True), ('v05_noz', False), ('v2', True), ('v3noz', None), ('v4_noz', False), ('x', None)],
)
def test_forward_type_says_whether_there_is_a_gate(forward_type, gate):
    if gate is None:
        with pytest.raises(
            ValueError, match=f"published forward_type='{forward_type}' is not supported; expected 'v0', or"
        ):
            arch_from_published_kwargs(dict(forward_type=forward_type))
    else:
        assert arch_from_published_kwargs(dict(forward_type=forward_type))['gate'] == gate


def test_an_unknown_published_argument_is_named():
    with pytest.raises(ValueError, match=r"published arguments \['ssm_magic'\] are not known here"):
        arch_from_published_kwargs(dict(ssm_magic=1))


@pytest.mark.parametrize(
    ('name', 'value'), [('ssm_act_layer', 'gelu'), ('ssm_conv', 5), ('posembed', True), ('norm_layer', 'bn')]
)
def test_an_unsupported_published_value_is_named(name, value):
    with pytest.raises(ValueError, match=f'published {name}={value!r} is not supported; expected one of'):
        arch_from_published_kwargs({name: value})
