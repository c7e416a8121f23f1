"""Selective scans and what surrounds them. Depends on torch; numba serves CPU tensors and Triton CUDA tensors."""

from .backend import BACKENDS, use_backend
from .causal_conv1d import causal_conv1d
from .layer_norm import layer_norm
from .selective_scan import selective_scan
from .selective_scan_2d import selective_scan_2d

__all__ = ['BACKENDS', 'causal_conv1d', 'layer_norm', 'selective_scan', 'selective_scan_2d', 'use_backend']
