from .attention import Attention
from .channel_gate import ChannelGate
from .channel_mixer import SelectiveChannelMixer
from .deformable_attention import DeformableAttention
from .downsample import ConvDownsample, PatchMerging
from .einfft import EinFFT
from .extra_tokens import ExtraTokens, insert_tokens, split_tokens, token_places
from .group_mamba import GroupMambaLayer
from .local_mamba_mixer import LocalMambaMixer
from .mamba_mixer import MambaBranch, MambaMixer
from .map_mamba_mixer import MapMambaMixer
from .mlp import ConvMlp, Mlp
from .norm import NORMS, BatchNorm, LayerNorm, RMSNorm
from .patch_embed import ClipEmbed, ConvStem, DeepStem, PatchEmbed, Stem
from .plain import members_of
from .position_embed import PositionEmbed, RotaryEmbed, rotate
from .residual import add_mlp, add_ss2d, weights_cast
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
    'ClipEmbed',
    'ConvDownsample',
    'ConvMlp',
    'ConvStem',
    'DeepStem',
    'DeformableAttention',
    'EinFFT',
    'ExtraTokens',
    'GroupMambaLayer',
    'LayerNorm',
    'LocalMambaMixer',
    'MambaBranch',
    'MambaMixer',
    'MapMambaMixer',
    'Mlp',
    'PatchEmbed',
    'PatchMerging',
    'PositionEmbed',
    'RMSNorm',
    'RotaryEmbed',
    'SelectiveChannelMixer',
    'SqueezeExcite',
    'Stem',
    'add_mlp',
    'add_ss2d',
    'insert_tokens',
    'members_of',
    'rotate',
    'split_tokens',
    'token_places',
    'weights_cast',
]
