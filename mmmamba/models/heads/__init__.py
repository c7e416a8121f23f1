from .class_block_head import ClassBlockHead
from .groupmamba import GroupMambaClsHead
from .taught_linear import TaughtLinearClsHead

__all__ = ['ClassBlockHead', 'GroupMambaClsHead', 'TaughtLinearClsHead']
