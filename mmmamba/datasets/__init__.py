"""Data and transforms that the task libraries lack: the embedded handwriting of the demo, pairs of images, clips."""

from mmmamba.datasets.clips import LoadClip
from mmmamba.datasets.handwriting import Scans, Scene, compose_digit, compose_scene, load_scans, split_scans
from mmmamba.datasets.handwriting_folder import Settings, data_card, is_complete, prepare_handwriting
from mmmamba.datasets.paired_images import LoadPairedImage

__all__ = [
    'LoadClip',
    'LoadPairedImage',
    'Scans',
    'Scene',
    'Settings',
    'compose_digit',
    'compose_scene',
    'data_card',
    'is_complete',
    'load_scans',
    'prepare_handwriting',
    'split_scans',
]
