"""MedMamba: what the common contract and the golden outputs do not show."""

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.models.backbones.medmamba import MedMambaBlock, resolve_arch
from mmmamba.registry import MODELS

SMALL = dict(embed_dims=[16, 24, 32, 40], depths=[1, 1, 1, 1], d_state=2)


def test_tiny_has_the_authors_number_of_parameters():
    with torch.device('meta'):
        model = MODELS.build(dict(type='MedMamba', arch='tiny'))
    assert sum(p.numel() for p in model.parameters()) + 6 * (768 + 1) == 14_457_222  # their files have six classes


def test_channels_of_the_convolutions_come_first_of_every_pair():
    block = MedMambaBlock(8, resolve_arch(SMALL), 'cross', 0.0).eval()
    x = torch.randn(1, 5, 7, 8)
    with torch.no_grad():
        change = block(x) - x
        torch.testing.assert_close(change[..., ::2], block.conv(x[..., :4]))
        torch.testing.assert_close(change[..., 1::2], block.mixer(block.norm(x[..., 4:])))


def test_maps_are_normed_only_where_asked_and_a_classifier_leaves_the_norms_fresh():
    plain, normed = (
        MODELS.build(dict(type='MedMamba', arch=SMALL)),
        MODELS.build(dict(type='MedMamba', arch=SMALL, normed=True)),
    )
    report = load_weights(normed, export(plain))
    assert report.missing == sorted(name for name in normed.state_dict() if name.startswith('out_norms.'))
    with torch.no_grad():
        for i, (a, b) in enumerate(zip(plain.eval()(x := torch.randn(1, 3, 64, 48)), normed.eval()(x), strict=True)):
            torch.testing.assert_close(normed.out_norms[str(i)](a.movedim(1, 3)), b.movedim(1, 3))


def test_an_image_of_one_patch_is_not_too_small():
    model = MODELS.build(dict(type='MedMamba', arch=SMALL)).eval()
    with torch.no_grad():
        assert [tuple(out.shape[2:]) for out in model(torch.randn(1, 3, 4, 12))] == [(1, 3), (1, 1), (1, 1), (1, 1)]


def test_an_odd_width_is_named():
    with pytest.raises(ValueError, match='embed_dims 15 of a stage must be even'):
        MODELS.build(dict(type='MedMamba', arch=dict(SMALL, embed_dims=[15, 16, 32, 40])))
