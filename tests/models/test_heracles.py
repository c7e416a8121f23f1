"""What is particular to Heracles; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch
from mmengine.registry import init_default_scope

from mmmamba.checkpoints.heracles import model_config
from mmmamba.models.backbones.heracles import ARCH, Heracles, HeraclesClassBlock, SpectralMixer, cosines
from mmmamba.registry import MODELS

SMALL = dict(embed_dims=[8, 16, 24, 32], depths=[1] * 4, num_heads=[1, 1, 2, 2], mlp_ratios=[2] * 4, stem_dims=8)
# Of the repaired golden classifiers (21 229 512, 31 991 464) and the second linear layer of 1000 classes.
PARAMETERS = {'small': 21_678_512, 'base': 32_504_464}


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_that_of_the_repaired_model(arch):
    init_default_scope('mmpretrain')
    known = {key: value for key, value in ARCH[arch].items() if key != 'stem_dims'}
    with torch.device('meta'):
        model = MODELS.build(model_config('Heracles', dict(known, stem_hidden_dim=ARCH[arch]['stem_dims'])))
    assert sum(p.numel() for p in model.parameters()) == PARAMETERS[arch]


@pytest.mark.parametrize('size', [1, 2, 5])
def test_cosines_are_the_orthonormal_dct(size):
    basis = cosines(size, torch.empty(0, dtype=torch.float64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(size, dtype=torch.float64))
    if size > 1:
        assert basis[1, 0] > 0 > basis[1, -1]


def test_halves_are_interleaved_and_a_filter_of_ones_changes_nothing():
    torch.manual_seed(0)
    mixer, x = SpectralMixer(6, 4).double(), torch.randn(2, 4, 4, 6, dtype=torch.float64)
    torch.nn.init.ones_(mixer.filter)
    y = mixer(x)
    torch.testing.assert_close(y[..., 1::2], x[..., 3:])
    torch.testing.assert_close(y[..., ::2], mixer.conv(x[..., :3].permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


def test_the_class_block_sees_the_pixels():
    torch.manual_seed(0)
    block, x = HeraclesClassBlock(32, 2).eval(), torch.randn(1, 3, 4, 32)
    with torch.no_grad():
        assert block(x).shape == (1, 32)
        assert not torch.allclose(block(x), block(x.mean((1, 2), keepdim=True)), atol=1e-4)


def test_heads_for_other_stages_are_named():
    with pytest.raises(ValueError, match=r'arch: num_heads \[2\] needs a number for each of 4 stages'):
        Heracles(dict(SMALL, num_heads=[2]))
