"""Published arguments that no recorded case has: how the authors' constructors say them, and what is built for them."""

import json
from pathlib import Path

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.checkpoints.families import FAMILIES, backbone_of
from mmmamba.checkpoints.golden import golden_input
from mmmamba.registry import MODELS

CASES = Path(__file__).parents[1] / 'data' / 'conformance'
FAMILY = {family.name: family for family in FAMILIES}
V3 = dict(patchembed_version='v2', downsample_version='v3', mlp_ratio=4.0, forward_type='v05_noz', ssm_ratio=1.0)
WINDOWS = ['w3', 'w5_flip', 'h', 'v']


def config_of(case, constructor=None, **changes):
    """The config for a recorded case's arguments with some changed."""
    family = case.split('/')[0]
    info = json.loads((CASES / f'{case}.json').read_text())
    return FAMILY[family].model_config(constructor or info['constructor'], {**info['kwargs'], **changes})


@pytest.mark.parametrize(
    ('case', 'constructor', 'changes', 'names'),
    [
        # The authors' base has it, misspelt; their code does not look at it.
        ('vim/custom_small', None, dict(if_devide_out=True), {'head.weight'}),
        ('vim_f/custom_small', None, dict(use_double_cls_token=True, depth=2), {'cls_token_head', 'cls_token_tail'}),
        ('local_vim/custom_small', None, dict(depth=2), {'layers.1.mixer.D_3'}),  # directions for more layers
        ('local_vim/custom_small', None, dict(img_size=[60, 100]), {'pos_embed'}),
        ('local_vmamba/custom_small', None, dict(directions=[WINDOWS] * 5), {'classifier.head.weight'}),
        ('vmamba/custom_small', None, dict(patchembed_version='v1', patch_size=8), {'patch_embed.0.weight'}),
        ('vmamba/custom_small', None, dict(mlp_drop_rate=0.1, pretrained='x.pth'), {'classifier.head.weight'}),
        ('msvmamba/custom_small', None, V3, {'patch_embed.5.weight', 'layers.0.downsample.1.weight'}),
        ('mambavision/custom_small', 'MM_mamba_vision', dict(out_indices=[1, 3], norm_layer='ln2d'), {'outnorm3.bias'}),
        (
            'plain_mamba/custom_small',
            'ImageClassifier(PlainMamba, LinearClsHead)',
            dict(num_classes=7),
            {'head.fc.bias'},
        ),
    ],
    ids=lambda value: str(sorted(value) if isinstance(value, set) else value),  # the same in every process
)
def test_a_model_is_built_exported_in_the_authors_layout_and_loaded_from_it(case, constructor, changes, names):
    model = MODELS.build(config_of(case, constructor, **changes)).eval()
    published = export(model)
    assert names <= set(published)
    load_weights(model, published)
    with torch.no_grad():
        outs = model(golden_input(2, 60, 44))
    assert all(out.isfinite().all() for out in (outs if backbone_of(model) is model else [outs]))


def test_positions_of_local_vim_are_learned_for_whole_patches_as_published():
    assert export(MODELS.build(config_of('local_vim/custom_small', img_size=[60, 100])))['pos_embed'].shape[1] == 3 * 6


def test_vim_f_without_class_token_reads_the_last_patch_where_the_authors_do():
    last = config_of('vim_f/custom_small', if_cls_token=False, final_pool_type='none')
    assert last['backbone']['arch']['pool'] == 'last'
    backbone = MODELS.build(last['backbone']).eval()
    assert torch.equal(
        backbone.pool(torch.zeros(1, 0, 192), torch.arange(384.0).view(1, 2, 192)), torch.arange(192.0, 384)[None]
    )


@pytest.mark.parametrize('case', ['groupmamba/custom_small', 'vim/custom_small', 'medmamba/custom_small'])
def test_a_model_without_its_last_layer_is_refused(case):
    with pytest.raises(ValueError, match='published num_classes=0 has no last layer, which is not supported'):
        config_of(case, num_classes=0)


def test_the_sizes_of_msvmamba_v3_have_as_many_parameters_as_published():
    """32, 50 and 91 M; base alone keeps its gate."""
    for depths, dims, gate, millions in (
        ([2, 2, 9, 2], 96, '_noz', 32.258152),
        ([2, 3, 20, 2], 96, '_noz', 50.206312),
        ([2, 4, 18, 2], 128, '', 90.579432),
    ):
        changes = dict(V3, depths=depths, dims=dims, forward_type=f'v05{gate}', ssm_conv_bias=False, num_classes=1000)
        with torch.device('meta'):
            model = MODELS.build(config_of('msvmamba/custom_small', **changes))
        assert sum(p.numel() for p in model.parameters()) == round(1e6 * millions)


def test_an_unknown_direction_is_named():
    with pytest.raises(ValueError, match="published direction 'x7' is not known here"):
        config_of('local_vmamba/custom_small', directions=[['x7']] * 5)
