"""Weights, inputs and probes that anybody can make again: what the conformance cases were recorded with.

A tensor's values follow from its published name and shape alone (numpy's legacy generator seeded with the CRC-32 of the
name), scaled so that activations and the recurrent state have the size of a trained model's.
"""

import math
import zlib

import numpy as np
import torch
from torch import Tensor

# One-dimensional tensors of these names scale something: around 1. The others shift something: around 0.
SCALES = ('weight', 'gamma', 'gamma_1', 'gamma_2', 'scale', 'skip_scale')
INPUT_SEED = 1234


def golden_tensor(name: str, shape: tuple[int, ...], strong: bool = False) -> Tensor | None:
    """The recorded value of one tensor of a published state dict.

    Args:
        name: published name.
        shape: published shape.
        strong: the second set of weights, under which the recurrent state dominates the output.

    Returns:
        float32, or None where the model keeps its own initial value (fixed tables, counters).
    """
    if 'freqs' in name or 'relative_coords' in name or name.endswith('num_batches_tracked'):
        return None
    noise = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape if shape else (1,)).reshape(shape)
    value = _scaled(noise, *['', *name.split('.')][-2:]).astype(np.float32)
    return torch.from_numpy(_strengthened(value, name.rpartition('.')[2]) if strong else value)


def golden_input(batch: int, height: int, width: int, channels: int = 3) -> Tensor:
    """The recorded image batch, (B, C, H, W) float32."""
    shape = (batch, channels, height, width)
    return torch.from_numpy(np.random.RandomState(INPUT_SEED).standard_normal(shape).astype(np.float32))


def probe_indices(numel: int, count: int = 64) -> Tensor:
    """Row-major flat indices of a (B, C, H, W) tensor at which its values were recorded, int64."""
    return torch.from_numpy(np.linspace(0, numel - 1, count).astype(np.int64))


def _scaled(noise: np.ndarray, parent: str, leaf: str) -> np.ndarray:
    if leaf.startswith('A_') and 'log' in leaf:
        return np.log(1 + 4 * np.abs(noise))
    if leaf in ('D', 'Ds', 'D_b') or (leaf.startswith('D_') and 'log' not in leaf):
        return 1 + 0.1 * noise
    if leaf == 'running_var':
        return 1 + 0.1 * np.abs(noise)
    if 'dt_proj' in f'{parent}.{leaf}' and 'bias' in leaf:
        return -4 + 0.5 * noise
    if noise.ndim <= 1:
        return 1 + 0.1 * noise if leaf in SCALES else 0.1 * noise
    return noise / math.sqrt(int(np.prod(noise.shape[1:])))


def _strengthened(value: np.ndarray, leaf: str) -> np.ndarray:
    """The cases' ``strong_rule``, in float32."""
    if leaf == 'x_proj_weight':
        return value * np.float32(2 * math.sqrt(value.shape[1]))
    if leaf == 'dt_projs_weight':
        return value * np.float32(math.sqrt(value.shape[1]))
    if leaf == 'dt_projs_bias':
        return value + np.float32(2)
    if leaf == 'A_logs':
        return value - np.float32(1.5)
    return value
