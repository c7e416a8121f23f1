from .routes import raster
from .scan import Scan, build_scan

__all__ = ['Scan', 'build_scan', 'raster']
