"""The initializer that configs name, from a file to a built model."""

import pytest
import torch
from mmengine.logging import MMLogger
from vmamba_files import backbone, classifier, same_weights, small_arch

from mmmamba.checkpoints import CheckpointError, export
from mmmamba.registry import MODELS


@pytest.fixture
def published(tmp_path):
    """Path of a published classifier's file, and the classifier."""
    model = classifier()
    torch.save(dict(model=export(model), epoch=300), tmp_path / 'vssm.pth')
    return tmp_path / 'vssm.pth', model


def pretrained(path, kind='mmmamba.Pretrained', **options):
    return dict(type=kind, checkpoint=str(path), **options)


every_kind = pytest.mark.parametrize('kind', ['mmmamba.Pretrained', 'Pretrained'])  # ours, and mmengine's name


@every_kind
@pytest.mark.parametrize('library', ['mmmamba', 'mmdet', 'mmseg', 'mmpretrain'])
def test_a_config_starts_a_backbone_from_published_weights(published, library, kind):
    path, model = published
    registry = MODELS if library == 'mmmamba' else __import__(f'{library}.registry').registry.MODELS
    config = dict(type='mmmamba.VMamba', arch=small_arch(), out_indices=(3,), init_cfg=pretrained(path, kind))
    found = registry.build(config)
    assert not same_weights(found, model.backbone)
    found.init_weights()
    assert same_weights(found, model.backbone)


def test_a_classifier_starts_its_backbone_and_keeps_its_fresh_head(published):
    path, model = published
    found = classifier(seed=1, init_cfg=pretrained(path), num_classes=3)
    found.init_weights()
    assert same_weights(found.backbone, model.backbone)
    assert found.head.fc.weight.shape == (3, 64)
    assert found.head.fc.weight.std() < 0.1  # the head's own initializer ran


@every_kind
def test_a_whole_model_starts_from_a_whole_file(published, kind):
    path, model = published
    config = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmmamba.VMamba', arch=small_arch(), out_indices=(3,)),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=7, in_channels=64),
        init_cfg=pretrained(path, kind),
    )
    found = MODELS.build(config)
    found.init_weights()
    assert same_weights(found, model)


def test_the_report_is_logged(published, caplog):
    path, _ = published
    logger = MMLogger.get_instance('test_pretrained')
    logger.addHandler(caplog.handler)  # MMLogger does not propagate
    found = backbone(seed=1, init_cfg=pretrained(path))
    found.init_weights()
    logger.removeHandler(caplog.handler)
    assert f'VMamba from {path}: ' in caplog.text
    assert '8 left fresh (out_norms.0.bias' in caplog.text


def test_a_second_initialisation_does_not_load_again(published):
    path, _ = published
    found = backbone(seed=1, out_indices=(3,), init_cfg=pretrained(path))
    found.init_weights()
    with torch.no_grad():
        found.out_norms['3'].bias.fill_(5)
    found.init_weights()
    assert found.out_norms['3'].bias.eq(5).all()


@every_kind
def test_a_prefix_chooses_one_of_the_models_in_a_file(tmp_path, kind):
    student, teacher = backbone(seed=1), backbone(seed=2)
    weights = {
        f'{name}.{key}': w for name, m in (('student', student), ('teacher', teacher)) for key, w in export(m).items()
    }
    torch.save(dict(state_dict=weights), tmp_path / 'w.pth')
    found = backbone(init_cfg=pretrained(tmp_path / 'w.pth', kind, prefix='teacher.'))
    found.init_weights()
    assert same_weights(found, teacher)
    wrong = backbone(init_cfg=pretrained(tmp_path / 'w.pth', kind, prefix='backbone.'))
    with pytest.raises(CheckpointError, match=r"no names that start with 'backbone.', but student.patch_embed"):
        wrong.init_weights()


@every_kind
def test_the_moving_average_is_taken_where_it_is_asked_for(tmp_path, kind):
    model, average = backbone(seed=1), backbone(seed=2)
    torch.save(dict(model=export(model), model_ema=export(average)), tmp_path / 'w.pth')
    for options, expected in ((dict(), model), (dict(ema=True), average)):
        found = backbone(init_cfg=pretrained(tmp_path / 'w.pth', kind, **options))
        found.init_weights()
        assert same_weights(found, expected)


def test_a_model_without_a_backbone_of_ours_is_left_to_mmengine(tmp_path):
    config = dict(type='mmpretrain.ResNet', depth=18)
    model = MODELS.build(config)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    found = MODELS.build({**config, 'init_cfg': pretrained(tmp_path / 'w.pth', 'Pretrained')})
    found.init_weights()
    assert same_weights(found, model)
    averaged = MODELS.build({**config, 'init_cfg': pretrained(tmp_path / 'w.pth', 'Pretrained', ema=True)})
    with pytest.raises(ValueError, match=r"ema=True is for mmmamba's backbones .* not <class 'mmpretrain.*ResNet'>"):
        averaged.init_weights()


@every_kind
def test_a_checkpoint_that_does_not_fit_is_an_error(published, kind):
    path, _ = published
    found = backbone(small_arch(d_state=2), init_cfg=pretrained(path, kind))
    with pytest.raises(CheckpointError, match=r"vssm.pth' does not fit this VMamba.*set arch=dict\("):
        found.init_weights()


def test_a_missing_checkpoint_is_an_error():
    with pytest.raises(CheckpointError, match="checkpoint '/nowhere/w.pth' does not exist"):
        backbone(init_cfg=pretrained('/nowhere/w.pth')).init_weights()
