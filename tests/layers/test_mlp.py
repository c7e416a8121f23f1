"""The channel mixer."""

import torch

from mmmamba.layers import Mlp


def test_mlp_is_linear_exact_gelu_linear():
    layer = Mlp(6, 11).double()
    x = torch.randn(2, 3, 4, 6, dtype=torch.float64)
    hidden = x @ layer.fc1.weight.T + layer.fc1.bias
    hidden = 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(layer(x), hidden @ layer.fc2.weight.T + layer.fc2.bias)
