# PlainMamba-L2 on ImageNet-1k, in fp32.
_base_ = './plainmamba-l1_8xb256-300e_in1k.py'

model = dict(backbone=dict(arch='l2'), head=dict(in_channels=384))
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=2e-5, by_epoch=True, begin=20),
]
custom_hooks = [dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL')]
