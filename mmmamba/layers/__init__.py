from .downsample import ConvDownsample, PatchMerging
from .mlp import Mlp
from .patch_embed import ConvStem, PatchEmbed
from .ss2d import SS2D

__all__ = ['SS2D', 'ConvDownsample', 'ConvStem', 'Mlp', 'PatchEmbed', 'PatchMerging']
