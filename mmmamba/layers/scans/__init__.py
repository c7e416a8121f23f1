"""Scans that own parameters: (B, H, W, E) to the same shape, each with its own merge of the routes."""

from .adaptive import AdaptiveScan
from .atrous import AtrousScan
from .build import build_layer_scan
from .continuous import ContinuousScan
from .gated import GatedScan
from .grouped import GroupedScan
from .local import LocalScan
from .local_search import LocalSearch
from .multi_scale import MultiScaleScan
from .omnidirectional import OmnidirectionalChannelScan
from .selective_scans import SelectiveScans, StateSpace
from .sparse import SparseScan

__all__ = [
    'AdaptiveScan',
    'AtrousScan',
    'ContinuousScan',
    'GatedScan',
    'GroupedScan',
    'LocalScan',
    'LocalSearch',
    'MultiScaleScan',
    'OmnidirectionalChannelScan',
    'SelectiveScans',
    'SparseScan',
    'StateSpace',
    'build_layer_scan',
]
