# Mamba-R-T on ImageNet-1k, the last of three phases: 20 epochs at batch 8x64 and a constant rate, from the weights of
# mamba-r-t_8xb128-100e_in1k, which load_from has to name.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_deit3_224.py',
    '../_base_/schedules/imagenet_bs1024_adamw_tokens.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.MambaR', arch='tiny', out_type='pooled'),
    neck=dict(_delete_=True, type='mmmamba.RegisterNeck', in_channels=192, num_registers=12),
    head=dict(in_channels=2304),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-5, weight_decay=0.1),
    paramwise_cfg=dict(custom_keys={'register_embed': dict(decay_mult=0.0)}),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(max_epochs=20)
auto_scale_lr = dict(base_batch_size=512)
