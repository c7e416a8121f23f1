"""Weights from and to files: safe reading, one key map per model family, strict loading with a report, export."""

from mmmamba.checkpoints.conversion import Conversion, convert
from mmmamba.checkpoints.files import CheckpointError, load_file, unwrap
from mmmamba.checkpoints.latest import latest_checkpoint
from mmmamba.checkpoints.loading import LoadReport, export, fit_weights, load_weights
from mmmamba.checkpoints.pretrained import Pretrained

__all__ = [
    'CheckpointError',
    'Conversion',
    'LoadReport',
    'Pretrained',
    'convert',
    'export',
    'fit_weights',
    'latest_checkpoint',
    'load_file',
    'load_weights',
    'unwrap',
]
