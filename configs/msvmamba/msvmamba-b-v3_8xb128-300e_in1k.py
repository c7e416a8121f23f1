# MSVMamba-B of the final version (v3) on ImageNet-1k.
_base_ = './msvmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='v3_base', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
optim_wrapper = dict(optimizer=dict(lr=6e-4))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=6e-6, by_epoch=True, begin=20),
]
