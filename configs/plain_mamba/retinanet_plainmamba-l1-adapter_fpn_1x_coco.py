# RetinaNet with PlainMamba-L1 in a ViT-Adapter on COCO, as published: 12 epochs at batch 8x2, one scale.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    'mmdet::_base_/datasets/coco_detection.py',
    '../_base_/schedules/schedule_1x_adamw.py',
    '../_base_/default_runtime_det.py',
]

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmamba.ViTAdapter',
        backbone=dict(type='mmmamba.PlainMamba', arch='l1', drop_path_rate=0.1),
        drop_path_rate=0.1,
    ),
    neck=dict(in_channels=[192, 192, 192, 192], add_extra_convs='on_output', norm_cfg=dict(type='BN')),
)
find_unused_parameters = True  # RetinaNet takes no map of stride 4
sync_bn = 'torch'  # all batch norms, those of the backbone as well
optim_wrapper = dict(
    clip_grad=dict(max_norm=35, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={
            'A_log': dict(decay_mult=0.0),
            'scan.D': dict(decay_mult=0.0),
            'direction_B': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'level_embed': dict(decay_mult=0.0),
            'bias': dict(decay_mult=0.0),
        }
    ),
)
