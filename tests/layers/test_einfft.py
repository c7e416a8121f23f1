"""EinFFT against its formula in complex numbers."""

import pytest
import torch

from mmmamba.layers import EinFFT


def test_einfft_is_two_complex_linear_layers_between_transforms():
    torch.manual_seed(0)
    layer, x = EinFFT(8, blocks=2, shrinkage=0.02).double(), torch.randn(2, 3, 5, 8, dtype=torch.float64)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    weights = [torch.complex(*w) for w in (layer.weight1, layer.weight2)]
    biases = [torch.complex(*b) for b in (layer.bias1, layer.bias2)]
    z = torch.fft.fftn(x.reshape(2, 15, 2, 4), dim=(1, 2), norm='ortho')
    z = torch.stack([z[:, :, k] @ weights[0][k] + biases[0][k] for k in range(2)], 2)
    z = torch.complex(z.real.clamp(min=0), z.imag.clamp(min=0))
    z = torch.stack([z[:, :, k] @ weights[1][k] + biases[1][k] for k in range(2)], 2)
    shrink = lambda part: part.sign() * (part.abs() - 0.02).clamp(min=0)  # noqa: E731
    z = torch.complex(shrink(z.real), shrink(z.imag))
    expected = torch.fft.ifftn(z, dim=(1, 2), norm='ortho').real.reshape(x.shape)
    torch.testing.assert_close(layer(x), expected, rtol=1e-9, atol=1e-9)


def test_channels_that_the_blocks_do_not_divide_are_named():
    with pytest.raises(ValueError, match='embed_dims 10 is not a multiple of the 4 blocks of EinFFT'):
        EinFFT(10)
