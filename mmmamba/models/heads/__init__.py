from .class_block_head import ClassBlockHead
from .groupmamba import GroupMambaClsHead

__all__ = ['ClassBlockHead', 'GroupMambaClsHead']
