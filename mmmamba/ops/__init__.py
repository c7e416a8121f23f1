"""Selective scans and what surrounds them. Depends on torch; numba serves CPU tensors and Triton CUDA tensors."""

from .backend import BACKENDS, use_backend
from .causal_conv1d import causal_conv1d
from .depthwise_conv import depthwise_conv2d
from .layer_norm import layer_norm
from .residual import WeightCasts, residual_mlp, residual_ss2d, serves_fused
from .selective_scan import selective_scan
from .selective_scan_2d import selective_scan_2d

__all__ = [
    'BACKENDS',
    'WeightCasts',
    'causal_conv1d',
    'depthwise_conv2d',
    'layer_norm',
    'residual_mlp',
    'residual_ss2d',
    'selective_scan',
    'selective_scan_2d',
    'serves_fused',
    'use_backend',
]
