"""Classifiers that learn from a teacher: GroupMamba from a trained model, MambaVision from its own average (MESA)."""

import copy

import pytest
import torch
from mmpretrain.structures import DataSample
from torch import nn
from torch.nn import functional as F

from mmmamba.registry import MODELS

CLASSES = 5
BACKBONE = dict(type='mmmamba.VMamba', arch=dict(embed_dims=[8, 16], depths=[1, 1], patch_size=2), out_indices=(1,))
LINEAR = dict(
    type='mmmamba.TaughtLinearClsHead', num_classes=CLASSES, in_channels=16,
    loss=dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1),
    loss_teacher=dict(type='mmmamba.TeacherDivergenceLoss', loss_weight=25.0, temperature=3.0),
)  # fmt: skip
GROUPMAMBA = dict(type='mmmamba.GroupMambaClsHead', num_classes=CLASSES, in_channels=16, alpha=0.3)


def classifier(head, neck=None):
    torch.manual_seed(0)
    return MODELS.build(dict(type='mmmamba.TaughtClassifier', backbone=BACKBONE, neck=neck, head=head)).double()


def linear_classifier():
    return classifier(LINEAR, dict(type='mmpretrain.GlobalAveragePooling'))


def batch():
    generator = torch.Generator().manual_seed(1)
    samples = [DataSample().set_gt_label(i) for i in (3, 0, 4)]
    return torch.randn(3, 3, 16, 16, generator=generator, dtype=torch.float64), samples


def spread(model):
    """The model with larger weights in its last layers, for scores that differ."""
    generator = torch.Generator().manual_seed(2)
    for name, parameter in model.head.named_parameters():
        if name.split('.')[0].endswith('fc'):
            parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def smooth_cross_entropy(scores, labels, smoothing):
    target = F.one_hot(labels, CLASSES) * (1 - smoothing) + smoothing / CLASSES
    return -(target * scores.log_softmax(1)).sum(1).mean()


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_divergence_is_that_of_kullback_and_leibler(temperature):
    ours, theirs = torch.randn(2, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = MODELS.build(dict(type='mmmamba.TeacherDivergenceLoss', loss_weight=2.5, temperature=temperature))
    p, q = (torch.exp(x / temperature) / torch.exp(x / temperature).sum(1, keepdim=True) for x in (theirs, ours))
    torch.testing.assert_close(loss(ours, theirs), 2.5 * (p * (p / q).log()).sum(1).mean())
    assert abs(loss(theirs, theirs)) < 1e-15


def test_gradient_of_the_divergence_is_the_difference_of_the_predictions():
    ours, theirs = torch.randn(2, 4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = MODELS.build(dict(type='mmmamba.TeacherDivergenceLoss', loss_weight=9.0, temperature=3.0))
    loss(ours.requires_grad_(), theirs).backward()
    torch.testing.assert_close(ours.grad, (ours.detach().div(3).softmax(1) - theirs.div(3).softmax(1)) * 3 / 4)
    assert torch.autograd.gradcheck(lambda x: loss(x, theirs), (ours,))


def test_linear_head_adds_the_divergence_from_the_teacher():
    model, teacher = spread(linear_classifier()), linear_classifier()
    teacher.head.fc.weight.data.mul_(-30)
    inputs, samples = batch()
    model.learn_from(teacher)
    losses = model(inputs, samples, mode='loss')
    scores, theirs = model(inputs), teacher(inputs)
    divergence = ((theirs / 3).softmax(1) * ((theirs / 3).log_softmax(1) - (scores / 3).log_softmax(1))).sum(1).mean()
    assert sorted(losses) == ['loss_class', 'loss_teacher']
    torch.testing.assert_close(losses['loss_class'], smooth_cross_entropy(scores, torch.tensor([3, 0, 4]), 0.1))
    torch.testing.assert_close(losses['loss_teacher'], 25 * divergence)
    assert losses['loss_teacher'] > 0.01


def test_groupmamba_learns_labels_and_the_classes_of_the_teacher_apart():
    model, teacher = spread(classifier(GROUPMAMBA)), spread(linear_classifier())
    inputs, samples = batch()
    model.learn_from(teacher)
    losses = model(inputs, samples, mode='loss')
    token = model.head.pre_logits(model.backbone(inputs))
    labels, taught = torch.tensor([3, 0, 4]), teacher(inputs).argmax(1)
    assert not torch.equal(labels, taught)
    of_labels = -model.head.fc(token).log_softmax(1)[range(3), labels].mean()
    of_teacher = -model.head.dist_fc(token).log_softmax(1)[range(3), taught].mean()
    torch.testing.assert_close(losses['loss_class'], 0.7 * of_labels)
    torch.testing.assert_close(losses['loss_distill'], 0.3 * of_teacher)
    losses['loss_class'].backward(retain_graph=True)
    assert model.head.fc.weight.grad.abs().max() > 0
    assert model.head.dist_fc.weight.grad is None
    losses['loss_distill'].backward()
    assert model.head.dist_fc.weight.grad.abs().max() > 0


def test_groupmamba_without_its_second_layer_cannot_be_taught():
    model = classifier(dict(GROUPMAMBA, distillation=False))
    model.learn_from(linear_classifier())
    with pytest.raises(ValueError, match='distillation=False leaves no layer for the teacher; set it to True'):
        model(*batch(), mode='loss')


@pytest.mark.parametrize('build', [linear_classifier, lambda: classifier(GROUPMAMBA)], ids=['linear', 'groupmamba'])
def test_without_a_teacher_the_losses_are_those_of_an_image_classifier(build):
    model = build()
    inputs, samples = batch()
    losses = model(inputs, samples, mode='loss')
    assert list(losses) == ['loss']
    torch.testing.assert_close(losses['loss'], model.head._get_loss(model(inputs), samples)['loss'])


def test_teacher_is_no_part_of_the_model_and_stays_as_it_is():
    model, teacher = linear_classifier(), spread(linear_classifier())
    names, before = list(model.state_dict()), copy.deepcopy(teacher.state_dict())
    model.learn_from(teacher)
    model.train()
    sum(model(*batch(), mode='loss').values()).backward()
    assert list(model.state_dict()) == names
    assert teacher not in list(model.modules())
    assert not teacher.training
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_teacher_sees_the_images_of_the_model():
    class Remember(nn.Module):
        def forward(self, images):
            self.seen = images
            return images.new_zeros(len(images), CLASSES)

    model, teacher = linear_classifier(), Remember()
    inputs, samples = batch()
    model.learn_from(teacher)
    model(inputs, samples, mode='loss')
    assert torch.equal(teacher.seen, inputs)
