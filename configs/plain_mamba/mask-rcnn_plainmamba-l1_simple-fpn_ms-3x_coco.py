# Mask R-CNN with PlainMamba-L1 on COCO, 36 epochs at many scales, simple feature pyramid (the authors: ViT-Adapter).
_base_ = [
    '../_base_/models/mask-rcnn_simple-fpn.py',
    '../_base_/datasets/coco_instance_ms.py',
    '../_base_/schedules/schedule_3x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.PlainMamba', arch='l1', drop_path_rate=0.1), neck=dict(in_channels=192)
)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'A_log': dict(decay_mult=0.0),
            'scan.D': dict(decay_mult=0.0),
            'direction_B': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'bias': dict(decay_mult=0.0),
        }
    )
)
