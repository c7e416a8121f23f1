"""Deformable attention against a loop over samples and their four pixels."""

import numpy as np
import pytest
import torch

from mmmamba.layers import DeformableAttention
from mmmamba.layers.deformable_attention import pixel_centres, sample_levels

SHAPES = [(3, 5), (2, 2), (1, 4)]


def bilinear(image, x, y):
    """Value at pixel coordinates, (H, W, D) to (D,); pixels outside are zero."""
    height, width = image.shape[:2]
    total = np.zeros(image.shape[2])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for col in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < height and 0 <= col < width:
                total += (1 - abs(y - row)) * (1 - abs(x - col)) * image[row, col]
    return total


def sampled_by_loop(value, shapes, places, weights):
    """The definition of ``sample_levels``, one query, head, level and point at a time."""
    batch, queries, heads, levels, points = weights.shape
    bounds = np.cumsum([0, *(h * w for h, w in shapes)])
    out = np.zeros((batch, queries, heads, value.shape[-1]))
    for b, q, m, level, p in np.ndindex(batch, queries, heads, levels, points):
        height, width = shapes[level]
        image = value[b, bounds[level] : bounds[level + 1], m].reshape(height, width, -1)
        x, y = places[b, q, m, level, p] * (width, height) - 0.5  # the centre of the first pixel is at half a pixel
        out[b, q, m] += weights[b, q, m, level, p] * bilinear(image, x, y)
    return out.reshape(batch, queries, -1)


def drawn(shapes, heads=2, width=3, queries=4, points=3, seed=0):
    """Values, places that reach beyond the maps, and weights."""
    rng = np.random.default_rng(seed)
    length = sum(h * w for h, w in shapes)
    value = rng.normal(size=(2, length, heads, width))
    places = rng.uniform(-0.4, 1.4, size=(2, queries, heads, len(shapes), points, 2))
    return value, places, rng.uniform(size=places.shape[:-1])


@pytest.mark.parametrize(('dtype', 'bound'), [(torch.float64, 1e-13), (torch.float32, 1e-5)], ids=str)
@pytest.mark.parametrize('shapes', [SHAPES, [(1, 1)], [(7, 3)]], ids=str)
def test_samples_match_the_loop(shapes, dtype, bound):
    arrays = drawn(shapes)
    expected = sampled_by_loop(arrays[0], shapes, *arrays[1:])
    value, places, weights = (torch.tensor(array, dtype=dtype) for array in arrays)
    found = sample_levels(value, shapes, places, weights)
    assert np.abs(found.numpy() - expected).max() < bound * np.abs(expected).max()


def test_samples_have_the_gradients_of_their_differences():
    tensors = [torch.tensor(array, requires_grad=True) for array in drawn(SHAPES, queries=2, points=2)]
    assert torch.autograd.gradcheck(lambda v, p, w: sample_levels(v, SHAPES, p, w), tensors)


def test_the_whole_attention_is_that_of_the_paper():
    torch.manual_seed(0)
    layer = DeformableAttention(6, 2, num_levels=3, num_points=2).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    query, maps = torch.randn(2, 4, 6).double(), torch.randn(2, 23, 6).double()
    points = np.array([[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]])  # centres of 2x2 pixels
    with torch.no_grad():
        found = layer(query, [(2, 2)], maps, SHAPES)
        offsets = layer.sampling_offsets(query).view(2, 4, 2, 3, 2, 2)
        weights = layer.attention_weights(query).view(2, 4, 2, 6).softmax(-1).view(2, 4, 2, 3, 2)
        value = layer.value_proj(maps).view(2, 23, 2, 3)
        places = offsets.numpy().copy()
        for level, (height, width) in enumerate(SHAPES):  # offsets count pixels of their level
            places[:, :, :, level] = points[:, None, None] + places[:, :, :, level] / (width, height)
        expected = layer.output_proj(torch.tensor(sampled_by_loop(value.numpy(), SHAPES, places, weights.numpy())))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_a_new_layer_looks_around_in_as_many_directions_as_heads():
    layer = DeformableAttention(16, 4, num_levels=2, num_points=3)
    offsets = layer.sampling_offsets(torch.randn(1, 1, 16)).view(4, 2, 3, 2)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    for level in range(2):
        for point in range(3):
            torch.testing.assert_close(offsets[:, level, point], (point + 1) * directions)


def test_places_are_exact_under_autocast():
    """A step of bfloat16 near 1 is 1/128 of the map, several pixels of a large one."""
    layer = DeformableAttention(4, 1, num_points=1)
    torch.nn.init.zeros_(layer.sampling_offsets.bias)
    for linear in (layer.value_proj, layer.output_proj):
        torch.nn.init.eye_(linear.weight)
    ramp = torch.arange(512.0).view(1, 512, 1).expand(1, 512, 4) / 512
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        out = layer(torch.zeros(1, 512, 4), [(1, 512)], ramp, [(1, 512)])
    assert torch.equal(out, ramp.bfloat16())


def test_centres_of_pixels_are_x_then_y():
    expected = [[0.25, 0.5], [0.75, 0.5], [0.5, 0.25], [0.5, 0.75]]
    torch.testing.assert_close(pixel_centres([(1, 2), (2, 1)], torch.ones(1)), torch.tensor(expected))


def test_heads_that_do_not_divide_the_values_are_named():
    with pytest.raises(ValueError, match=r'num_heads 5 does not divide the width of the values, 8.*value_ratio 0\.5'):
        DeformableAttention(16, 5, value_ratio=0.5)
