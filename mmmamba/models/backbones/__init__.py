from .efficient_vmamba import EfficientVMamba
from .mambavision import MambaVision
from .msvmamba import MSVMamba
from .vmamba import VMamba

__all__ = [
    'EfficientVMamba',
    'MSVMamba',
    'MambaVision',
    'VMamba',
]
