# LocalVMamba-T on ImageNet-1k, 300 epochs at batch 8x128.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.LocalVMamba', arch='tiny', out_indices=(3,), drop_path_rate=0.2),
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.2), dict(type='CutMix', alpha=1.0)]),
)
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(
    optimizer=dict(weight_decay=0.04),
    clip_grad=dict(max_norm=1.0),
    paramwise_cfg=dict(custom_keys={'scan.D': dict(decay_mult=0.0)}),  # flat, hence exempt, in the authors' code
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-4, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-6, by_epoch=True, begin=20),
]
