"""Registries of mmmamba: children of mmengine's root registries under the scope ``mmmamba``.

A config names a member as ``mmmamba.Name`` from any of mmdet, mmseg and mmpretrain. The modules in ``locations`` are
imported on the first look-up, so importing this file registers nothing and needs no model library.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import RUNNERS as MMENGINE_RUNNERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import WEIGHT_INITIALIZERS as MMENGINE_WEIGHT_INITIALIZERS
from mmengine.registry import Registry

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmmamba', locations=['mmmamba.models'])
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmmamba', locations=['mmmamba.datasets'])
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmmamba', locations=['mmmamba.datasets'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmmamba', locations=['mmmamba.engine'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmmamba', locations=['mmmamba.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optim wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope='mmmamba',
    locations=['mmmamba.engine'],
)
OPTIM_WRAPPERS = Registry(
    'optim_wrapper', parent=MMENGINE_OPTIM_WRAPPERS, scope='mmmamba', locations=['mmmamba.engine']
)
RUNNERS = Registry('runner', parent=MMENGINE_RUNNERS, scope='mmmamba', locations=['mmmamba.engine'])
WEIGHT_INITIALIZERS = Registry(
    'weight initializer', parent=MMENGINE_WEIGHT_INITIALIZERS, scope='mmmamba', locations=['mmmamba.checkpoints']
)
STRATEGIES = Registry('strategy', parent=MMENGINE_STRATEGIES, scope='mmmamba', locations=['mmmamba.engine'])
SCANS = Registry('scan', scope='mmmamba', locations=['mmmamba.scans'])
