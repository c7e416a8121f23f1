# Mask R-CNN with RSMamba-B on COCO, 36 epochs at many scales, by a simple feature pyramid; the authors have none.
_base_ = [
    '../_base_/models/mask-rcnn_simple-fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.RSMamba', arch='base'),
    neck=dict(in_channels=192, scales=(2, 1, 0.5, 0.25)),
)
