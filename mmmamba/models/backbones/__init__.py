from .efficient_vmamba import EfficientVMamba
from .fractal_mamba import FractalMamba
from .groupmamba import GroupMamba
from .heracles import Heracles
from .local_vim import LocalVim
from .local_vmamba import LocalVMamba
from .mamba_nd import MambaND
from .mamba_r import MambaR
from .mambavision import MambaVision
from .medmamba import MedMamba
from .msvmamba import MSVMamba
from .plain_mamba import PlainMamba
from .rsmamba import RSMamba
from .simba import SiMBA
from .vim import Vim
from .vim2 import ViM2
from .vim_f import VimF
from .vmamba import VMamba

__all__ = [
    'EfficientVMamba',
    'FractalMamba',
    'GroupMamba',
    'Heracles',
    'LocalVMamba',
    'LocalVim',
    'MSVMamba',
    'MambaND',
    'MambaR',
    'MambaVision',
    'MedMamba',
    'PlainMamba',
    'RSMamba',
    'SiMBA',
    'VMamba',
    'ViM2',
    'Vim',
    'VimF',
]
