"""Small VMambas as their authors would publish them, for the tests of this folder."""

import mmpretrain.models  # noqa: F401 - registers the classifier
import torch
from torch import nn

from mmmamba.models.backbones.vmamba import ARCH, VMamba
from mmmamba.registry import MODELS

ARCHS = [name for name in ARCH if '_' in name]  # without the short names of three of them


def small_arch(name='tiny_s1l8', **differences):
    """An architecture with narrow and few blocks, otherwise as published."""
    return dict(ARCH[name], embed_dims=[16, 32, 48, 64], depths=[1, 2, 1, 1]) | differences


def backbone(arch=None, seed=0, **options):
    """A VMamba of ``arch``, a small tiny_s1l8 if None, every value of which differs from its start."""
    model = VMamba(small_arch() if arch is None else arch, **options)
    return _randomised(model, seed)


def classifier(arch=None, seed=0, num_classes=7, **options):
    """An mmpretrain classifier around one."""
    arch = small_arch() if arch is None else arch
    last = len(arch['depths']) - 1
    config = dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmmamba.VMamba', arch=arch, out_indices=(last,), **options),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(type='mmpretrain.LinearClsHead', num_classes=num_classes, in_channels=arch['embed_dims'][last]),
    )
    return _randomised(MODELS.build(config), seed)


@torch.no_grad()
def _randomised(model: nn.Module, seed: int) -> nn.Module:
    g = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=g))
    return model.eval()


def same_weights(a, b):
    """Whether two models, or state dicts, have the same names, shapes and values."""
    a, b = (m.state_dict() if isinstance(m, nn.Module) else m for m in (a, b))
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)
