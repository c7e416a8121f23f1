from .groupmamba import GroupMambaClsHead

__all__ = ['GroupMambaClsHead']
