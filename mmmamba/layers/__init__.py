from .attention import Attention
from .channel_gate import ChannelGate
from .downsample import ConvDownsample, PatchMerging
from .mamba_mixer import MambaBranch, MambaMixer
from .mlp import ConvMlp, Mlp
from .norm import NORMS, BatchNorm, LayerNorm
from .patch_embed import ConvStem, PatchEmbed
from .squeeze_excite import SqueezeExcite
from .ss2d import SS2D
from .ss3d import SS3D

__all__ = [
    'NORMS',
    'SS2D',
    'SS3D',
    'Attention',
    'BatchNorm',
    'ChannelGate',
    'ConvDownsample',
    'ConvMlp',
    'ConvStem',
    'LayerNorm',
    'MambaBranch',
    'MambaMixer',
    'Mlp',
    'PatchEmbed',
    'PatchMerging',
    'SqueezeExcite',
]
