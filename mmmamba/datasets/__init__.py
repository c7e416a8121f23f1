"""Data and transforms that the task libraries lack: embedded handwriting, pairs of images, clips, token labels."""

from mmmamba.datasets.clips import LoadClip
from mmmamba.datasets.handwriting import Scans, Scene, compose_digit, compose_scene, load_scans, split_scans
from mmmamba.datasets.handwriting_folder import Settings, data_card, is_complete, prepare_handwriting
from mmmamba.datasets.paired_images import LoadPairedImage
from mmmamba.datasets.token_labels import BoxedRandomResizedCrop, LoadTokenLabel

__all__ = [
    'BoxedRandomResizedCrop',
    'LoadClip',
    'LoadPairedImage',
    'LoadTokenLabel',
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
