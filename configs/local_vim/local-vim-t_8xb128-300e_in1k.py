# LocalVim-T on ImageNet-1k, 300 epochs at batch 8x128.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_tokens.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.LocalVim', arch='tiny', out_type='pooled'),
    neck=None,
    head=dict(in_channels=192),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.04))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=20),
]
auto_scale_lr = dict(base_batch_size=1024)
