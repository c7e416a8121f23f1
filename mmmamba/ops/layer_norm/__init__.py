from .interface import layer_norm

__all__ = ['layer_norm']
