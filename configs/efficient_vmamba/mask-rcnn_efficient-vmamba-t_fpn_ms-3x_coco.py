# Mask R-CNN with EfficientVMamba-T on COCO, 36 epochs at many scales at batch 8x2.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.EfficientVMamba', arch='tiny', drop_path_rate=0.1),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
