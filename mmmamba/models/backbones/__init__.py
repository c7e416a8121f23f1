from .mambavision import MambaVision
from .vmamba import VMamba

__all__ = ['MambaVision', 'VMamba']
