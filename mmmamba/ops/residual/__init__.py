from .interface import residual_mlp, residual_ss2d, serves_fused

__all__ = ['residual_mlp', 'residual_ss2d', 'serves_fused']
