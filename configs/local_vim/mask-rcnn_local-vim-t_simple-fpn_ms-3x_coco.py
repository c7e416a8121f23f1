# Mask R-CNN with LocalVim-T on COCO, 36 epochs at many scales, by a simple feature pyramid; VMamba's setting.
_base_ = [
    '../_base_/models/mask-rcnn_simple-fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.LocalVim', arch='tiny', drop_path_rate=0.1),
    neck=dict(in_channels=192),
)
