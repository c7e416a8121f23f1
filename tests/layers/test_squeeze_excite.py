import torch
from torch.nn import functional as F

from mmmamba.layers import SqueezeExcite


def test_squeeze_excite_gates_a_map_by_its_own_mean_or_that_of_another():
    torch.manual_seed(0)
    layer = SqueezeExcite(8, 2)
    x, source = torch.randn(2, 2, 5, 7, 8)
    for given, read in ((None, x), (source, source)):
        pooled = read.flatten(1, 2).mean(1)
        gate = torch.sigmoid(F.linear(F.relu(layer.fc1(pooled)), layer.fc2.weight, layer.fc2.bias))
        torch.testing.assert_close(layer(x, given), x * gate[:, None, None])


def test_squeeze_excite_without_biases():
    assert [name for name, _ in SqueezeExcite(8, 2, bias=False).named_parameters()] == ['fc1.weight', 'fc2.weight']
