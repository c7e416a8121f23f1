# Mamba-R-T on ImageNet-1k, 300 epochs at 224x224 by Vim's recipe (the authors: three phases).
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.MambaR', arch='tiny', out_type='pooled'),
    neck=dict(_delete_=True, type='mmmamba.RegisterNeck', in_channels=192, num_registers=12),
    head=dict(in_channels=2304),
)
train_dataloader = dict(batch_size=128, sampler=dict(type='RepeatAugSampler'))
optim_wrapper = dict(
    optimizer=dict(lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(
        custom_keys={
            'A_log': dict(decay_mult=0.0),
            '.D': dict(decay_mult=0.0),
            'dt_proj_bias': dict(decay_mult=0.0),
            'norm.weight': dict(decay_mult=0.0),
            'out_norms': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'register_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
auto_scale_lr = dict(base_batch_size=1024)
