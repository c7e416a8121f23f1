"""The channel mixers."""

import torch
from torch.nn import functional as F

from mmmamba.layers import ConvMlp, Mlp


def test_mlp_is_linear_exact_gelu_linear():
    layer = Mlp(6, 11).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    hidden = x @ layer.fc1.weight.T + layer.fc1.bias
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(layer(x), hidden @ layer.fc2.weight.T + layer.fc2.bias)


def test_conv_mlp_convolves_between_its_layers_and_adds_only_where_asked():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 7, 4)
    plain, residual = ConvMlp(4, 6), ConvMlp(4, 6, residual=True)
    residual.load_state_dict(plain.state_dict())
    hidden = plain.fc1(x)
    convolved = plain.conv(hidden.movedim(3, 1)).movedim(1, 3)
    torch.testing.assert_close(plain(x), plain.fc2(F.gelu(convolved)))
    torch.testing.assert_close(residual(x), plain.fc2(F.gelu(hidden + convolved)))
