from .class_block_head import ClassBlockHead
from .groupmamba import GroupMambaClsHead
from .taught_linear import TaughtLinearClsHead
from .token_label import TokenLabelHead

__all__ = ['ClassBlockHead', 'GroupMambaClsHead', 'TaughtLinearClsHead', 'TokenLabelHead']
