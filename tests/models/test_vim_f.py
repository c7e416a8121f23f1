"""What is particular to Vim-F; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.models.backbones.vim_f import ARCH, FrequencyMix, VimF

SMALL = dict(embed_dims=16, num_layers=3, stride=8, frequency_layers=2, d_state=4)
# With a classifier of 1000 classes; counted on the authors' code.
PUBLISHED_PARAMETERS = {'tiny': 7_405_592, 'small': 27_133_976, 'tiny_stride8': 7_405_592, 'small_stride8': 27_133_976}


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = VimF(arch)
    width = ARCH[arch]['embed_dims']
    assert sum(p.numel() for p in model.parameters()) + 1000 * (width + 1) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize('size', [(32, 48), (5, 7), (65, 41)], ids=str)
def test_any_size_gives_maps(size):
    (out,) = VimF(SMALL)(torch.randn(1, 3, *size))
    assert out.shape == (1, 16, max(1, size[0] // 8), max(1, size[1] // 8))


def test_the_spectrum_is_that_of_tokens_and_channels():
    mix, x = FrequencyMix(6).double(), torch.randn(2, 5, 6, dtype=torch.float64)
    with torch.no_grad():
        mix.scales.copy_(torch.tensor([0.5, 2.0]))
    dft = [torch.exp(-2j * torch.pi * torch.outer(torch.arange(n), torch.arange(n)) / n) / n**0.5 for n in (5, 6)]
    spectrum = torch.einsum('kl,blc,cd->bkd', dft[0].to(torch.complex128), x + 0j, dft[1].to(torch.complex128)).abs()
    torch.testing.assert_close(mix(x), mix.proj(0.5 * x + 2 * spectrum), rtol=1e-6, atol=1e-6)


def test_a_stride_that_cannot_be_halved_twice_is_refused():
    with pytest.raises(ValueError, match='stride 6 is not a multiple of 4'):
        VimF(dict(SMALL, stride=6))
