# Mask R-CNN with MambaVision-T on COCO, 36 epochs at many scales; the authors publish Cascade Mask R-CNN only.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmmamba.MambaVision', arch='tiny', window_sizes=(8, 8, 112, 56), drop_path_rate=0.2
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
