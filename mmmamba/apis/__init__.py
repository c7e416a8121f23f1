"""Models by the names of our configs, and the three libraries' inferencers for them."""

from importlib import import_module
from typing import Any

from mmmamba.apis.models import get_model, list_models

# Each needs its library alone, and seconds to import: on first use.
_INFERENCERS = {
    'DetInferencer': 'detection',
    'ImageClassificationInferencer': 'classification',
    'MMSegInferencer': 'segmentation',
}

__all__ = ['DetInferencer', 'ImageClassificationInferencer', 'MMSegInferencer', 'get_model', 'list_models']


def __getattr__(name: str) -> Any:
    if name not in _INFERENCERS:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(f'{__name__}.{_INFERENCERS[name]}'), name)
