# Mask R-CNN with RSMamba-B on COCO, 12 epochs at batch 8x2, by a simple feature pyramid; the authors have none.
_base_ = [
    '../_base_/models/mask-rcnn_simple-fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    '../_base_/schedules/schedule_1x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.RSMamba', arch='base'),
    neck=dict(in_channels=192, scales=(2, 1, 0.5, 0.25)),
)
