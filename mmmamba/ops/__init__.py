"""Selective scans. Depends on torch alone; numba serves CPU tensors where it is installed."""

from .backend import BACKENDS, use_backend
from .selective_scan import selective_scan
from .selective_scan_2d import selective_scan_2d

__all__ = ['BACKENDS', 'selective_scan', 'selective_scan_2d', 'use_backend']
