# Cascade Mask R-CNN with MambaVision-T on COCO, as published: 36 epochs at batch 8x2, many scales.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True, type='mmmamba.MambaVision', arch='tiny', window_sizes=(8, 8, 112, 56), drop_path_rate=0.2
    ),
    neck=dict(in_channels=[80, 160, 320, 640]),
    roi_head=dict(
        bbox_head=[
            dict(
                head,
                type='Shared4Conv1FCBBoxHead',
                norm_cfg=dict(type='SyncBN', requires_grad=True),
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                loss_bbox=dict(type='GIoULoss', loss_weight=10.0),
            )
            for head in _base_.model.roi_head.bbox_head
        ]
    ),
)
