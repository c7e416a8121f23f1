# Cascade Mask R-CNN with Vim-Ti on COCO in the setting of ViTDet, as published: 100 epochs at batch 8x8, large-scale
# jitter, layer norms in the heads, learning rates that decay with depth.
_base_ = [
    'mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/schedule_lsj-100e_adamw.py',
    '../_base_/default_runtime_det_iters.py',
]

norm_cfg = dict(type='mmpretrain.LN2d')
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, type='mmmamba.Vim', arch='tiny', drop_path_rate=0.1),
    neck=dict(_delete_=True, type='mmmamba.SimpleFeaturePyramid', in_channels=192, out_channels=256, num_outs=5),
    rpn_head=dict(num_convs=2),
    roi_head=dict(
        bbox_head=[
            dict(head, type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg) for head in _base_.model.roi_head.bbox_head
        ],
        mask_head=dict(norm_cfg=norm_cfg),
    ),
)
optim_wrapper = dict(
    constructor='mmmamba.LayerDecayConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.837, custom_keys={'norm': dict(decay_mult=0.0)}),
)
