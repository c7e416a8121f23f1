from .taught import TaughtClassifier
from .token_label import TokenLabelClassifier

__all__ = ['TaughtClassifier', 'TokenLabelClassifier']
