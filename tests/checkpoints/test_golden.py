"""The weights of the conformance cases: the same values for everybody, for ever."""

import math
import zlib

import numpy as np
import pytest
import torch

from mmmamba.checkpoints.golden import golden_input, golden_tensor, probe_indices


def noise(name, *shape):
    return np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)


@pytest.mark.parametrize(('name', 'shape', 'rule'), [
    ('layers.0.blocks.0.norm.weight', (5,), lambda z: 1 + 0.1 * z),
    ('layers.0.blocks.0.norm.bias', (5,), lambda z: 0.1 * z),
    ('layers.0.blocks.0.op.in_proj.weight', (4, 6), lambda z: z / math.sqrt(6)),
    ('patch_embed.0.weight', (4, 3, 2, 2), lambda z: z / math.sqrt(12)),
    ('layers.0.blocks.0.op.A_logs', (6, 2), lambda z: np.log(1 + 4 * np.abs(z))),
    ('layers.0.blocks.0.op.Ds', (6,), lambda z: 1 + 0.1 * z),
    ('layers.0.blocks.0.op.dt_projs_bias', (4, 6), lambda z: -4 + 0.5 * z),
    ('mixer.dt_proj.bias', (6,), lambda z: -4 + 0.5 * z),
    ('bn.running_var', (6,), lambda z: 1 + 0.1 * np.abs(z)),
])  # fmt: skip
def test_values_follow_from_name_and_shape(name, shape, rule):
    found = golden_tensor(name, shape)
    assert found.dtype == torch.float32
    assert np.array_equal(found.numpy(), rule(noise(name, *shape)).astype(np.float32))


@pytest.mark.parametrize('name', ['rope.freqs_cos', 'attn.relative_coords_table', 'bn.num_batches_tracked'])
def test_fixed_tables_keep_their_own_value(name):
    assert golden_tensor(name, (3,)) is None


@pytest.mark.parametrize(('leaf', 'shape', 'rule'), [
    ('x_proj_weight', (4, 3, 16), lambda v: v * np.float32(2 * math.sqrt(3))),
    ('dt_projs_weight', (4, 16, 2), lambda v: v * np.float32(4)),
    ('dt_projs_bias', (4, 16), lambda v: v + np.float32(2)),
    ('A_logs', (64, 1), lambda v: v - np.float32(1.5)),
    ('Ds', (64,), lambda v: v),
])  # fmt: skip
def test_strong_values_follow_the_strong_rule(leaf, shape, rule):
    name = f'layers.0.blocks.0.op.{leaf}'
    assert np.array_equal(golden_tensor(name, shape, strong=True).numpy(), rule(golden_tensor(name, shape).numpy()))


def test_input_is_the_recorded_one():
    expected = np.random.RandomState(1234).standard_normal((2, 3, 4, 5)).astype(np.float32)
    assert np.array_equal(golden_input(2, 4, 5).numpy(), expected)
    assert golden_input(2, 4, 5, channels=1).shape == (2, 1, 4, 5)


def test_probes_are_spread_from_the_first_to_the_last_value():
    assert probe_indices(10, 4).tolist() == [0, 3, 6, 9]
    assert len(probe_indices(1000)) == 64
