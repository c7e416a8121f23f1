"""The smallest classifier and Mask R-CNN that go through the launcher, and images of noise for them."""

from pathlib import Path

import numpy as np
from PIL import Image

TINY_BACKBONE = "dict(type='mmmamba.VMamba', arch=dict(embed_dims=[8, 16], depths=[1, 1], patch_size=2))"
CLASSIFIER = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=2),
    backbone=dict(**{backbone}, out_indices=(1,), drop_path_rate=0.2),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16, loss=dict(type='CrossEntropyLoss')))
pipeline = [dict(type='LoadImageFromFile'), dict(type='RandomFlip', prob=0.5), dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root={root!r}, data_prefix='train', pipeline=pipeline)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True), dataset=dataset)
test_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, **dataset))
test_evaluator = dict(type='Accuracy', topk=1)
train_cfg = dict(by_epoch=True, max_epochs=2)
test_cfg = dict()
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(type='CheckpointHook', interval=1))
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=5)
"""
DETECTOR = """
default_scope = 'mmdet'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']
model = dict(
    backbone=dict(_delete_=True, **{backbone}, out_indices=(0, 1)),
    neck=dict(in_channels=[8, 16], out_channels=16, num_outs=2),
    rpn_head=dict(in_channels=16, feat_channels=16, anchor_generator=dict(scales=[4], strides=[2, 4])),
    roi_head=dict(
        bbox_roi_extractor=dict(featmap_strides=[2, 4], out_channels=16),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=1),
        mask_roi_extractor=dict(featmap_strides=[2, 4], out_channels=16),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1, num_classes=1)),
    train_cfg=dict(rpn_proposal=dict(nms_pre=50, max_per_img=20), rcnn=dict(sampler=dict(num=16))))
pipeline = [
    dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(64, 40), keep_ratio=True), dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root={root!r}, ann_file='instances.json', data_prefix=dict(img=''),
        metainfo=dict(classes=('thing',)), filter_cfg=dict(filter_empty_gt=False), pipeline=pipeline))
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
default_hooks = dict(logger=dict(type='LoggerHook', interval=1))
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
randomness = dict(seed=5)
"""


def noise(path: Path, height: int = 16, width: int = 16) -> None:
    """Write an image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
