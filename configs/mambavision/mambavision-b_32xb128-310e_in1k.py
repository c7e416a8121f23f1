# MambaVision-B on ImageNet-1k.
_base_ = './mambavision-t_32xb128-310e_in1k.py'

model = dict(backbone=dict(arch='base'), head=dict(in_channels=1024, loss_teacher=dict(loss_weight=1.0 * 50)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.075))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=35, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, by_epoch=True, begin=35, end=300),
]
custom_hooks = [
    dict(type='EMAHook', momentum=2e-4, priority='ABOVE_NORMAL'),
    dict(type='mmmamba.MESAHook', begin=0.3),
]
