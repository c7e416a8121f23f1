"""What is particular to Mamba-R; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.checkpoints import export, load_weights
from mmmamba.models import RegisterNeck
from mmmamba.models.backbones.mamba_r import ARCH, MambaR

SMALL = dict(embed_dims=16, num_layers=2, registers=3, img_size=(32, 48), patch_size=8, d_state=4)
REDUCTION = {'tiny': 1, 'small': 2, 'base': 4, 'large': 8}
# With the neck and a classifier of 1000 classes.
PUBLISHED_PARAMETERS = {'tiny': 9_264_232, 'small': 27_801_064, 'base': 99_301_096, 'large': 341_222_376}


def build(seed=0, **differences):
    torch.manual_seed(seed)
    options = {key: differences.pop(key) for key in ('out_indices', 'out_type') if key in differences}
    return MambaR(SMALL | differences, **options).eval()


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    registers = ARCH[arch].get('registers', 12)
    width = ARCH[arch]['embed_dims']
    with torch.device('meta'):
        parts = [MambaR(arch), RegisterNeck(width, registers, REDUCTION[arch])]
    count = sum(p.numel() for part in parts for p in part.parameters())
    assert count + 1000 * (registers * width // REDUCTION[arch] + 1) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize('size', [(32, 48), (5, 7), (65, 41)], ids=str)
def test_any_size_gives_maps_without_the_registers(size):
    (out,) = build()(torch.randn(1, 3, *size))
    assert out.shape == (1, 16, max(1, size[0] // 8), max(1, size[1] // 8))


def test_pooled_are_the_registers_in_order():
    (registers,) = build(out_type='pooled')(torch.randn(2, 3, 32, 48))
    assert registers.shape == (2, 3, 16)
    (joined,) = RegisterNeck(16, 3)([registers])
    assert torch.equal(joined, registers.flatten(1))
    assert RegisterNeck(16, 3, reduction=2)([registers])[0].shape == (2, 24)


def test_weights_of_another_image_size_are_resized_on_loading():
    small, large = build(img_size=32), build(1, img_size=(64, 48))
    assert load_weights(large, export(small)).adapted == {'pos_embed.weight': 'made for a grid of 8x6'}
    x = torch.randn(1, 3, 64, 48)
    torch.testing.assert_close(large(x)[0], small(x)[0])


def test_frozen_embeddings_include_those_of_the_registers():
    model = MambaR(SMALL, frozen_stages=0)
    assert not any(p.requires_grad for n, p in model.named_parameters() if not n.startswith(('layers', 'out_norms')))


def test_without_registers_it_is_refused():
    with pytest.raises(ValueError, match='registers 0 must be 1 or more; without any it is a Vim'):
        build(registers=0)
