from .efficient_vmamba import EfficientVMamba
from .groupmamba import GroupMamba
from .local_vmamba import LocalVMamba
from .mambavision import MambaVision
from .medmamba import MedMamba
from .msvmamba import MSVMamba
from .plain_mamba import PlainMamba
from .rsmamba import RSMamba
from .vmamba import VMamba

__all__ = [
    'EfficientVMamba',
    'GroupMamba',
    'LocalVMamba',
    'MSVMamba',
    'MambaVision',
    'MedMamba',
    'PlainMamba',
    'RSMamba',
    'VMamba',
]
