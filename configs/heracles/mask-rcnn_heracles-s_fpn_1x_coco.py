# Mask R-CNN with Heracles-S, repaired, on COCO, 12 epochs at batch 8x2.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_1x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.Heracles', arch='small'), neck=dict(in_channels=[64, 128, 320, 448])
)
