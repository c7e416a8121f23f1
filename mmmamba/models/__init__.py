from . import adapters, backbones, classifiers, clip_backbones, heads, losses, necks
from .adapters import *  # noqa: F403
from .backbones import *  # noqa: F403
from .classifiers import *  # noqa: F403
from .clip_backbones import *  # noqa: F403
from .heads import *  # noqa: F403
from .losses import *  # noqa: F403
from .necks import *  # noqa: F403

__all__ = [
    *adapters.__all__,
    *backbones.__all__,
    *classifiers.__all__,
    *clip_backbones.__all__,
    *heads.__all__,
    *losses.__all__,
    *necks.__all__,
]
