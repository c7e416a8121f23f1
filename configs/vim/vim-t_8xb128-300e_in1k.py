# Vim-Ti on ImageNet-1k, 300 epochs at batch 8x128, in fp32.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_tokens.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.Vim', arch='tiny', out_type='pooled'),
    neck=None,
    head=dict(in_channels=192),
)
train_dataloader = dict(batch_size=128, sampler=dict(type='RepeatAugSampler'))
optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.1))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
auto_scale_lr = dict(base_batch_size=1024)
