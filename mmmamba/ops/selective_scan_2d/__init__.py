from .interface import selective_scan_2d

__all__ = ['selective_scan_2d']
