# RSMamba-B on ImageNet-1k with VMamba's recipe, 300 epochs at batch 8x128; the authors have none.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.RSMamba', arch='base'),
    neck=dict(_delete_=True, type='mmmamba.NormedAveragePooling', in_channels=192),
    head=dict(in_channels=192),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(custom_keys={'A_log': dict(decay_mult=0.0), 'pos_embed': dict(decay_mult=0.0)}),
)
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
