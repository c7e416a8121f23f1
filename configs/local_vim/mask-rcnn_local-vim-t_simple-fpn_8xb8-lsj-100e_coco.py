# Mask R-CNN with LocalVim-T on COCO in the setting of ViTDet, as released: 100 epochs at batch 8x8, large-scale jitter,
# layer norms in the heads. The decay of learning rates by 0.7 for each of 12 layers finds no layers under the names of
# LocalVim: it reaches the embeddings only.
_base_ = [
    '../_base_/models/mask-rcnn_simple-fpn.py',
    '../_base_/datasets/coco_instance_lsj.py',
    '../_base_/schedules/schedule_lsj-100e_adamw.py',
    '../_base_/default_runtime_det_iters.py',
]

norm_cfg = dict(type='mmpretrain.LN2d')
model = dict(
    data_preprocessor=dict(pad_size_divisor=1024),
    backbone=dict(_delete_=True, type='mmmamba.LocalVim', arch='tiny', drop_path_rate=0.1),
    neck=dict(in_channels=192),
    rpn_head=dict(num_convs=2),
    roi_head=dict(bbox_head=dict(type='Shared4Conv1FCBBoxHead', norm_cfg=norm_cfg), mask_head=dict(norm_cfg=norm_cfg)),
)
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.05),
    clip_grad=dict(max_norm=35, norm_type=2),
    paramwise_cfg=dict(
        custom_keys={'patch_embed': dict(lr_mult=0.7**13), 'pos_embed': dict(lr_mult=0.7**13)},
    ),
)
