# Mamba-R-S on ImageNet-1k.
_base_ = './mamba-r-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=384, reduction=2),
)
