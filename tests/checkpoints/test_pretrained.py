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


def pretrained(path):
    return dict(type='mmmamba.Pretrained', checkpoint=str(path))


@pytest.mark.parametrize('library', ['mmmamba', 'mmdet', 'mmseg', 'mmpretrain'])
def test_a_config_starts_a_backbone_from_published_weights(published, library):
    path, model = published
    registry = MODELS if library == 'mmmamba' else __import__(f'{library}.registry').registry.MODELS
    config = dict(type='mmmamba.VMamba', arch=small_arch(), out_indices=(3,), init_cfg=pretrained(path))
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


def test_a_whole_model_starts_from_a_whole_file(published):
    path, model = published
    config = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmmamba.VMamba', arch=small_arch(), out_indices=(3,)),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=7, in_channels=64),
        init_cfg=pretrained(path),
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


def test_a_checkpoint_that_does_not_fit_is_an_error(published):
    path, _ = published
    found = backbone(small_arch(d_state=2), init_cfg=pretrained(path))
    with pytest.raises(CheckpointError, match=r"vssm.pth' does not fit this VMamba.*set arch=dict\("):
        found.init_weights()


def test_a_missing_checkpoint_is_an_error():
    with pytest.raises(CheckpointError, match="checkpoint '/nowhere/w.pth' does not exist"):
        backbone(init_cfg=pretrained('/nowhere/w.pth')).init_weights()
