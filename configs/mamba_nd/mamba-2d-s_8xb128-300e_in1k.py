# Mamba-2D-S/8 on ImageNet-1k, 300 epochs at batch 8x128.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.MambaND', arch='small', drop_rate=0.1),
    neck=dict(_delete_=True, type='mmmamba.NormedAveragePooling', in_channels=384),
    head=dict(in_channels=384),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    constructor='mmmamba.LayerDecayConstructor',
    optimizer=dict(weight_decay=0.1),
    clip_grad=dict(max_norm=2.0),
    paramwise_cfg=dict(
        layer_decay_rate=0.95,
        custom_keys={'A_log': dict(decay_mult=0.1), 'pos_embed': dict(decay_mult=0.0)},
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, end=10, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=10),
]
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
