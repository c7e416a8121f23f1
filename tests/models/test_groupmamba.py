"""GroupMamba and its head: what the common contract and the golden outputs do not show."""

import pytest
import torch
from mmpretrain.structures import DataSample

from mmmamba.checkpoints import export, load_weights
from mmmamba.layers import GroupMambaLayer
from mmmamba.registry import MODELS

# Authors' classifiers, both heads included.
COUNTS = {'tiny': 23_361_917, 'small': 34_781_555, 'base': 57_150_838}
WIDTHS = {'tiny': 448, 'small': 512, 'base': 512}
SMALL = dict(embed_dims=[16, 24, 32, 40], depths=[1, 1, 1, 1], mlp_ratios=[2, 2, 1, 1], stem_dims=8)


def classifier(arch, channels, num_classes=1000, **head):
    return MODELS.build(
        dict(
            type='mmpretrain.ImageClassifier',
            backbone=dict(type='mmmamba.GroupMamba', arch=arch, out_indices=(3,)),
            head=dict(type='mmmamba.GroupMambaClsHead', num_classes=num_classes, in_channels=channels, **head),
        )
    )


@pytest.mark.parametrize('arch', COUNTS)
def test_parameter_count_is_the_authors(arch):
    with torch.device('meta'):
        model = classifier(arch, WIDTHS[arch])
    assert sum(p.numel() for p in model.parameters()) == COUNTS[arch]


def test_convolutions_start_with_variance_two_over_fan_out():
    torch.manual_seed(0)
    model = classifier(dict(SMALL, embed_dims=[64, 64, 64, 64]), 64, 5)
    downsample, depthwise = model.backbone.stages[0].downsample.conv, model.head.block.mixer.groups[0].conv
    assert float(downsample.weight.std()) == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.05)
    assert float(depthwise.weight.std()) == pytest.approx((2 / 9) ** 0.5, rel=0.2)
    assert not downsample.bias.any()
    assert not depthwise.bias.any()


def test_each_group_sees_its_own_channels_only():
    layer = GroupMambaLayer(16, ['raster', 'raster.transpose', 'raster.reverse', 'raster.transpose.reverse'])
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x = torch.randn(2, 3, 5, 16)
    n = layer.norm(x)
    apart = [group(part) for group, part in zip(layer.groups, n.chunk(4, dim=-1), strict=True)]
    expected = layer.proj(layer.norm(layer.affinity(torch.cat(apart, dim=-1) * layer.skip_scale * n, n)))
    torch.testing.assert_close(layer(x), expected)
    assert [group.scan.names for group in layer.groups] == [
        ('raster',), ('raster.transpose',), ('raster.reverse',), ('raster.transpose.reverse',)
    ]  # fmt: skip


def test_head_averages_two_layers_and_its_loss_reaches_both():
    model = classifier(SMALL, 40, 5)
    x = torch.randn(2, 3, 33, 47)
    samples = [DataSample().set_gt_label(i) for i in range(2)]
    losses = model(x, samples, mode='loss')
    losses['loss'].backward()
    assert model.head.fc.weight.grad.abs().max() > 0
    assert torch.equal(model.head.fc.weight.grad, model.head.dist_fc.weight.grad)
    with torch.no_grad():
        token = model.eval().head.pre_logits(model.backbone(x))
        expected = (model.head.fc(token) + model.head.dist_fc(token)) / 2
        torch.testing.assert_close(model(x, mode='tensor'), expected)


def test_head_without_distillation_has_one_layer():
    model = classifier(SMALL, 40, 5, distillation=False)
    assert model.head.dist_fc is None
    assert model(torch.randn(2, 3, 33, 47), mode='tensor').shape == (2, 5)


def test_a_classifier_starts_a_dense_backbone_whose_last_norm_is_fresh():
    dense = MODELS.build(dict(type='GroupMamba', arch=SMALL, normed=True))
    report = load_weights(dense, export(classifier(SMALL, 40, 5)))
    assert report.missing == ['out_norms.3.bias', 'out_norms.3.weight']
    assert all(name.startswith('head.') for name in report.unexpected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(arch=dict(SMALL, mlp_ratios=[1])), r'mlp_ratios \[1\] needs a number for each of 4 stages'),
        (dict(arch=SMALL, scan='window:7+raster+snake'), 'embed_dims 16 do not make 3 equal groups'),
    ],
    ids=str,
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MODELS.build(dict(type='GroupMamba', **options))
