"""What is particular to SiMBA and its head; contract of backbones and golden outputs are tested elsewhere."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmmamba.checkpoints.simba import model_config
from mmmamba.models.backbones.simba import ARCH, SiMBA, SiMBAClassBlock
from mmmamba.registry import MODELS

SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1, 1, 1, 1], mlp_ratios=[2, 2, 2, 2], stem_dims=8)
# With both classifiers of 1000 classes; counted on the authors' code.
PUBLISHED_PARAMETERS = {
    'small': 26_591_088, 'base': 40_209_744, 'large': 66_762_512, 'small_einfft': 15_309_104,
    'base_einfft': 22_819_984, 'large_einfft': 36_641_264,
}  # fmt: skip


def classifier(arch, **options):
    kwargs = dict(
        embed_dims=arch['embed_dims'], depths=arch['depths'], mlp_ratios=arch['mlp_ratios'],
        stem_hidden_dim=arch['stem_dims'], cm_type=arch.get('channel_mixer', 'mlp'), **options,
    )  # fmt: skip
    init_default_scope('mmpretrain')
    return MODELS.build(model_config('SiMBA', kwargs))


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = classifier(ARCH[arch])
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize('channel_mixer', ['mlp', 'einfft'])
@pytest.mark.parametrize('token_label', [True, False])
def test_a_classifier_learns_and_predicts(token_label, channel_mixer):
    from mmpretrain.structures import DataSample

    torch.manual_seed(0)
    model = classifier(dict(SMALL, channel_mixer=channel_mixer), token_label=token_label, num_classes=5).train()
    x, samples = torch.randn(2, 3, 64, 96), [DataSample().set_gt_label(i) for i in (1, 4)]
    losses = model(x, samples, mode='loss')
    assert set(losses) == ({'loss', 'loss_token'} if token_label else {'loss'})
    sum(losses.values()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert not without
    predicted = model.eval()(x, mode='predict')
    assert [tuple(sample.pred_score.shape) for sample in predicted] == [(5,), (5,)]


def test_scores_are_those_of_the_class_token_and_half_the_highest_of_the_pixels():
    torch.manual_seed(0)
    model = classifier(SMALL, num_classes=5).eval()
    head, x = model.head, torch.randn(2, 32, 3, 4)
    with torch.no_grad():
        token = head.norm(head.class_block(x.permute(0, 2, 3, 1)))
        pixels = head.aux_fc(head.norm(x.permute(0, 2, 3, 1))).flatten(1, 2).max(1).values
        torch.testing.assert_close(head((x,)), head.classifier.fc(token) + 0.5 * pixels)


def test_the_class_block_sees_the_mean_alone():
    torch.manual_seed(0)
    block, x = SiMBAClassBlock(32, d_state=4).eval(), torch.randn(1, 3, 4, 32)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(x.mean((1, 2), keepdim=True)))


def test_maps_pass_the_norms_between_the_stages_once():
    torch.manual_seed(0)
    model, x = SiMBA(SMALL).eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        outs = model(x)
    for out in outs:
        torch.testing.assert_close(out.mean(1), torch.zeros_like(out[:, 0]), rtol=0, atol=1e-4)
    assert list(model.out_norms.state_dict()) == ['3.weight', '3.bias']


def test_ratios_for_other_stages_are_named():
    with pytest.raises(ValueError, match=r'arch: mlp_ratios \[2\] needs a number for each of 4 stages'):
        SiMBA(dict(SMALL, mlp_ratios=[2]))
