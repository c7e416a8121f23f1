# MambaVision-T on ImageNet-1k, 310 epochs with LAMB at batch 32x128; from a quarter of them on with MESA.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    type='mmmamba.TaughtClassifier',
    backbone=dict(_delete_=True, type='mmmamba.MambaVision', arch='tiny', out_indices=(3,), out_norm='BN'),
    head=dict(
        type='mmmamba.TaughtLinearClsHead',
        in_channels=640,
        # 0.5 is the authors' weight of MESA; README.md says where 50 and the temperature are from.
        loss_teacher=dict(type='mmmamba.TeacherDivergenceLoss', loss_weight=0.5 * 50, temperature=3.0),
    ),
)
train_dataloader = dict(batch_size=128)
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=224, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='Lamb', lr=5e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
    paramwise_cfg=dict(  # flat, hence exempt, in the authors' code
        custom_keys={'mixer.D': dict(decay_mult=0.0), 'dt_proj_bias': dict(decay_mult=0.0)}
    ),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, by_epoch=True, begin=20, end=300),
]
train_cfg = dict(max_epochs=310)
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, priority='ABOVE_NORMAL'),
    dict(type='mmmamba.MESAHook', begin=0.25),
]
auto_scale_lr = dict(base_batch_size=4096)
