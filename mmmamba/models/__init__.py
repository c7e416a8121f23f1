from . import backbones, necks
from .backbones import *  # noqa: F403
from .necks import *  # noqa: F403

__all__ = [*backbones.__all__, *necks.__all__]
