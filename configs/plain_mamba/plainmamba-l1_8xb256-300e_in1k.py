# PlainMamba-L1 on ImageNet-1k, 300 epochs at batch 8x256; published with mixed precision (--amp).
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(backbone=dict(_delete_=True, type='mmmamba.PlainMamba', arch='l1'), head=dict(in_channels=192))
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(
    optimizer=dict(lr=2e-3),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(
        custom_keys={
            'A_log': dict(decay_mult=0.0),
            'scan.D': dict(decay_mult=0.0),
            'direction_B': dict(decay_mult=0.0),
            'dt_proj_bias': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
        }
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=15, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=15),
]
auto_scale_lr = dict(base_batch_size=2048)
