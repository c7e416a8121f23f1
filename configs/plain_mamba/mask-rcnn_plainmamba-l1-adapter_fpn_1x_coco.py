# Mask R-CNN with PlainMamba-L1 in a ViT-Adapter on COCO, as published: 12 epochs at batch 8x2, one scale.
_base_ = './mask-rcnn_plainmamba-l1_simple-fpn_1x_coco.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmmamba.ViTAdapter',
        backbone=dict(type='mmmamba.PlainMamba', arch='l1', drop_path_rate=0.1),
        drop_path_rate=0.1,
    ),
    neck=dict(
        _delete_=True,
        type='FPN',
        in_channels=[192, 192, 192, 192],
        out_channels=256,
        num_outs=5,
        norm_cfg=dict(type='BN'),
    ),
    roi_head=dict(bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=dict(type='BN'))),
)
sync_bn = 'torch'  # all batch norms, those of the backbone as well
train_dataloader = dict(dataset=dict(filter_cfg=dict(filter_empty_gt=False)))
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'level_embed': dict(decay_mult=0.0)}))
