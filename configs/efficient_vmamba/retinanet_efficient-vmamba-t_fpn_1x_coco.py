# RetinaNet with EfficientVMamba-T on COCO, 12 epochs at batch 8x2; the settings are those of Mask R-CNN.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_1x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmmamba.EfficientVMamba', arch='tiny', out_indices=(1, 2, 3), drop_path_rate=0.1
    ),
    neck=dict(in_channels=[96, 192, 384], start_level=0),
)
