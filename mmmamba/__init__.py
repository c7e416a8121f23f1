"""Mamba vision backbones for mmdet, mmseg and mmpretrain. Import it before ``mmcv.ops`` or a model library."""

from mmmamba import compat
from mmmamba.version import __version__

__all__ = ['__version__', 'compat']
