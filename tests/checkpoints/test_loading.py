"""Loading into models and out of them: complete, or an error that says what to do."""

import pytest
import torch
from torch import nn
from vmamba_files import backbone, classifier, same_weights, small_arch

from mmmamba.checkpoints import CheckpointError, LoadReport, export, load_weights
from mmmamba.models.backbones.vmamba import VMamba
from mmmamba.registry import MODELS


def prefixed(weights, prefix='backbone.'):
    return {f'{prefix}{name}': value for name, value in weights.items()}


@pytest.mark.parametrize('build', [backbone, classifier], ids=['backbone', 'classifier'])
def test_our_own_state_dict_is_loaded(build):
    model, twin = build(), build(seed=1)
    report = load_weights(twin, dict(state_dict=model.state_dict(), meta={}))
    assert same_weights(twin, model)
    assert report == LoadReport(matched=list(model.state_dict()))


def test_a_file_is_loaded_by_its_path(tmp_path):
    model, twin = backbone(), backbone(seed=1)
    torch.save(dict(model=export(model)), tmp_path / 'w.pth')
    load_weights(twin, tmp_path / 'w.pth')
    assert same_weights(twin, model)


def test_the_model_keeps_its_own_storage():
    model, twin = backbone(), backbone(seed=1)
    parameter, weights = twin.patch_embed.conv1.weight, model.state_dict()
    load_weights(twin, weights)
    assert twin.patch_embed.conv1.weight is parameter
    with torch.no_grad():
        parameter.zero_()
    assert model.patch_embed.conv1.weight.abs().max() > 0


def detector_weights(published, **others):
    """A detector's file: backbone. and others."""
    return dict(state_dict=prefixed(published) | others, meta={})


NECK = {'neck.lateral_convs.0.conv.weight': torch.ones(2, 2, 1, 1), 'rpn_head.rpn_cls.bias': torch.ones(3)}


@pytest.mark.parametrize('layout', ['published', 'ours'])
def test_a_detectors_file_gives_its_backbone(layout):
    model, twin = backbone(), backbone(seed=1)
    weights = export(model) if layout == 'published' else model.state_dict()
    assert any('outnorm' in name for name in export(model))
    report = load_weights(twin, detector_weights(weights, **NECK))
    assert same_weights(twin, model)
    assert report.unexpected == list(NECK)
    assert not report.missing


class Detector(nn.Module):
    def __init__(self, seed):
        super().__init__()
        self.backbone = backbone(seed=seed)
        self.neck = nn.Linear(3, 3)


def test_a_published_detectors_file_is_loaded_into_a_whole_detector():
    model, twin = Detector(0), Detector(1)
    weights = detector_weights(export(model.backbone), **prefixed(model.neck.state_dict(), 'neck.'))
    report = load_weights(twin, weights)
    assert same_weights(twin, model)
    assert len(report.matched) == len(model.state_dict())


def test_a_classifier_gives_a_dense_backbone_all_but_its_output_norms():
    """Its one norm was trained before a pooling: a dense backbone starts all of them fresh, as the authors' does."""
    model, dense = classifier(), backbone(seed=1)
    fresh = {name: value.clone() for name, value in dense.out_norms.state_dict().items()}
    report = load_weights(dense, dict(model=export(model)))
    norms = [name for name in dense.state_dict() if name.startswith('out_norms.')]
    assert sorted(report.missing) == sorted(norms)
    assert len(norms) == 8
    assert sorted(report.unexpected) == ['head.fc.bias', 'head.fc.weight', 'out_norms.3.bias', 'out_norms.3.weight']
    assert same_weights(dense.out_norms, fresh)
    for name, value in dense.state_dict().items():
        assert name in norms or torch.equal(value, model.backbone.state_dict()[name])
    assert f'{len(report.matched)} tensors loaded; 8 left fresh (out_norms.0.bias, ' in str(report)
    assert '4 of the checkpoint not used (head.fc.weight, head.fc.bias' in str(report)


def test_a_classifier_gives_a_backbone_with_its_one_norm_everything():
    model, twin = classifier(), backbone(seed=1, out_indices=(3,))
    report = load_weights(twin, dict(model=export(model)))
    assert same_weights(twin, model.backbone)
    assert not report.missing


def test_a_backbone_with_fewer_maps_drops_the_other_norms():
    model, twin = backbone(), backbone(seed=1, out_indices=(1, 2))
    report = load_weights(twin, export(model))
    assert report.unexpected == [f'out_norms.{i}.{leaf}' for i in (0, 3) for leaf in ('weight', 'bias')]
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in twin.state_dict().items())


STEMS = {'tiny_s1l8': 'patch_embed.conv1.weight', 'v0_tiny': 'patch_embed.conv.weight'}


@pytest.mark.parametrize('arch', STEMS)
@pytest.mark.parametrize('channels', [1, 2, 4, 7])
def test_a_stem_for_other_input_channels_is_adapted_and_reported(arch, channels):
    model, twin = backbone(small_arch(arch)), backbone(small_arch(arch), seed=1, in_channels=channels)
    report = load_weights(twin, export(model))
    assert report.adapted == {STEMS[arch]: f'made for {channels} input channels'}
    assert f'{STEMS[arch]} made for {channels} input channels' in str(report)
    others = model.state_dict() | {STEMS[arch]: twin.get_parameter(STEMS[arch])}
    assert same_weights(twin, others)


@pytest.mark.parametrize('arch', STEMS)
@pytest.mark.parametrize('channels', [1, 6, 9])
def test_an_adapted_stem_responds_to_a_grey_image_as_before(arch, channels):
    model, twin = backbone(small_arch(arch)), backbone(small_arch(arch), seed=1, in_channels=channels)
    load_weights(twin, export(model))
    grey = torch.randn(1, 1, 32, 32)
    expected = model.patch_embed(grey.expand(1, 3, 32, 32))
    torch.testing.assert_close(twin.patch_embed(grey.expand(1, channels, 32, 32)), expected, rtol=1e-3, atol=1e-4)


def test_a_stem_for_more_channels_repeats_its_filters_at_the_same_size():
    model, twin = backbone(), backbone(seed=1, in_channels=6)
    load_weights(twin, export(model))
    three, six = model.patch_embed.conv1.weight, twin.patch_embed.conv1.weight
    torch.testing.assert_close(six, torch.cat([three, three], dim=1) / 2)


def test_a_whole_model_makes_no_allowances():
    weights = export(classifier())
    remedy = 'Its backbone fits; to start from that alone, give the backbone init_cfg'
    with pytest.raises(
        CheckpointError, match=rf'1 are of another shape \(backbone.patch_embed.conv1.weight.* {remedy}'
    ):
        load_weights(classifier(in_channels=1), weights)
    with pytest.raises(
        CheckpointError, match=rf'2 are of another shape \(head.fc.weight \(7, 64\) instead of \(9, 64\).* {remedy}'
    ):
        load_weights(classifier(num_classes=9), weights)
    with pytest.raises(CheckpointError, match=rf'8 are missing .* 2 are not expected \(head.fc.weight.* {remedy}'):
        load_weights(Detector(1), weights)


# Refused.


def test_another_size_is_refused_with_the_arch_that_fits():
    small, large = VMamba('tiny_s1l8'), VMamba('tiny_s2l5')
    before = {name: value.clone() for name, value in large.state_dict().items()}
    with pytest.raises(CheckpointError, match='does not fit this VMamba') as error:
        load_weights(large, export(small))
    assert "It holds a VMamba 'tiny_s1l8', the config builds 'tiny_s2l5': set arch='tiny_s1l8'." in str(error.value)
    assert same_weights(large, before)


def test_another_size_in_a_file_names_the_file(tmp_path):
    torch.save(dict(model=export(backbone(small_arch(d_state=3)))), tmp_path / 'w.pth')
    with pytest.raises(
        CheckpointError, match=r"^checkpoint '.*/w.pth' does not fit this VMamba .*set arch=dict\(.*d_state=3"
    ):
        load_weights(backbone(), tmp_path / 'w.pth')


@pytest.mark.parametrize(
    'weights',
    [
        {'conv1.weight': torch.ones(64, 3, 7, 7), 'layer1.0.conv1.weight': torch.ones(64, 64, 1, 1)},
        {'stages.0.blocks.0.attn.qkv.weight': torch.ones(3, 3)},
    ],
    ids=['resnet', 'swin of mmpretrain'],
)
def test_another_model_is_refused_with_names(weights):
    first = next(iter(weights))
    with pytest.raises(CheckpointError, match='does not fit this VMamba') as error:
        load_weights(backbone(), dict(state_dict=weights))
    assert f'{len(weights)} are not expected ({first}' in str(error.value)
    assert str(error.value).endswith('It holds no VMamba.')


def test_another_model_with_the_authors_prefix_is_refused_with_names():
    weights = {'layers.0.blocks.0.attn.qkv.weight': torch.ones(3, 3)}  # Swin's own files
    with pytest.raises(
        CheckpointError, match='1 names have no place in the key map: layers.0.blocks.0.attn.qkv.weight'
    ):
        load_weights(backbone(), dict(model=weights))


@pytest.mark.parametrize(
    ('published', 'model', 'message'),
    [
        # MambaVision's mixer has the leaf names of Vim's; SiMBA's blocks have PlainMamba's `.mamba.`.
        (['levels.2.blocks.0.mixer.x_proj.weight', 'patch_embed.conv_down.0.weight'], 'Vim', 'not the weights of Vim'),
        (['block1.0.attn.mamba.A_log', 'patch_embed1.conv.0.weight'], 'PlainMamba', 'not the weights of PlainMamba'),
        (['layers.0.mixer.x_proj.weight', 'layers.0.mixer.dt_proj.weight'], 'MambaND', 'does not fit this MambaND'),
    ],
    ids=lambda value: value if isinstance(value, str) else '',
)
def test_another_family_with_names_alike_is_refused(published, model, message):
    arch = dict(embed_dims=8, num_layers=1, **({'downsample_layers': ()} if model == 'MambaND' else {}))
    with pytest.raises(CheckpointError, match=message):
        load_weights(MODELS.build(dict(type=model, arch=arch)), dict(model={name: torch.ones(2) for name in published}))


def test_a_tensor_with_other_axes_is_refused_with_a_reason():
    weights = {'backbone.layers.0.mixer.x_proj.weight': torch.ones(2, 2)}
    weights |= {'backbone.layers.0.down_sample_layer.norm.weight': torch.ones(33)}  # four neighbours' channels
    model = MODELS.build(dict(type='MambaND', arch=dict(embed_dims=8, num_layers=1, downsample_layers=(0,))))
    with pytest.raises(CheckpointError, match='not the weights of MambaND, or one of them is damaged'):
        load_weights(model, dict(state_dict=weights))


def test_positions_of_a_grid_that_is_not_square_say_what_to_build():
    small = dict(embed_dims=8, num_layers=1, patch_size=8, stride=8)
    published = export(MODELS.build(dict(type='Vim', arch=dict(small, img_size=(32, 48)))))
    with pytest.raises(CheckpointError, match='Its 25 position embeddings, .* build the model with the img_size'):
        load_weights(MODELS.build(dict(type='Vim', arch=small)), published)


def test_a_missing_tensor_is_named_and_nothing_is_loaded():
    model, twin = backbone(), backbone(seed=1)
    weights = model.state_dict()
    del weights['stages.1.blocks.0.norm1.weight']
    before = {name: value.clone() for name, value in twin.state_dict().items()}
    with pytest.raises(CheckpointError, match=r'1 are missing \(stages.1.blocks.0.norm1.weight\)'):
        load_weights(twin, weights)
    assert same_weights(twin, before)


def test_a_backbones_file_for_a_whole_model_says_how_to_start_from_it():
    with pytest.raises(
        CheckpointError, match=r"Its backbone fits; .* init_cfg=dict\(type='mmmamba.Pretrained', checkpoint"
    ):
        load_weights(classifier(), prefixed(backbone(out_indices=(3,)).state_dict()))


def test_export_of_a_model_without_a_key_map_names_those_that_have_one():
    with pytest.raises(CheckpointError, match=r"no key map for a Linear; there are maps for \['VMamba'"):
        export(nn.Linear(2, 2))


def test_a_backbone_without_a_key_map_loads_its_own_layout():
    model, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    report = load_weights(twin, model.state_dict())
    assert same_weights(twin, model)
    assert report.matched == ['weight', 'bias']
