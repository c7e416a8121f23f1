from .mamba_nd_3d import MambaND3D

__all__ = ['MambaND3D']
