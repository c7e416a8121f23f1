"""A classifier of a few thousand parameters on 24 noise images: the smallest run that goes through the launcher."""

from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from PIL import Image

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=3),
    backbone=dict(
        type='mmmamba.VMamba', arch=dict(embed_dims=[8, 16], depths=[1, 1], patch_size=2), out_indices=(1,),
        drop_path_rate=0.3),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=3, in_channels=16, loss=dict(type='CrossEntropyLoss')))
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=pipeline))
val_dataloader = dict(
    batch_size=6, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=pipeline))
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=1)
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg, test_cfg = dict(), dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
custom_hooks = [dict(type='EMAHook', momentum=0.1)]
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=5)
auto_scale_lr = dict(base_batch_size=12)
"""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Folder with 24 images of 16x16 in three class folders."""
    rng = np.random.default_rng(0)
    for i in range(24):
        path = tmp_path / 'images' / 'train' / 'abc'[i % 3] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    return tmp_path / 'images'


@pytest.fixture
def config(tmp_path: Path, images: Path) -> str:
    """Path of a config that trains on them for three epochs of four iterations."""
    path = tmp_path / 'tiny.py'
    path.write_text(dedent(CONFIG).format(root=str(images)))
    return str(path)
