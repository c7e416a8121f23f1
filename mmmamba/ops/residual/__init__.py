from .interface import residual_mlp, residual_ss2d, serves_residual

__all__ = ['residual_mlp', 'residual_ss2d', 'serves_residual']
