from .casts import WeightCasts
from .interface import residual_mlp, residual_ss2d, serves_fused

__all__ = ['WeightCasts', 'residual_mlp', 'residual_ss2d', 'serves_fused']
