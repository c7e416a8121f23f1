from .efficient_vmamba import EfficientVMamba
from .local_vmamba import LocalVMamba
from .mambavision import MambaVision
from .msvmamba import MSVMamba
from .plain_mamba import PlainMamba
from .rsmamba import RSMamba
from .vmamba import VMamba

__all__ = [
    'EfficientVMamba',
    'LocalVMamba',
    'MSVMamba',
    'MambaVision',
    'PlainMamba',
    'RSMamba',
    'VMamba',
]
