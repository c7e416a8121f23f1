from .taught import TaughtClassifier

__all__ = ['TaughtClassifier']
