# Mamba-R-S on ImageNet-1k, the second of three phases, from the weights of the first.
_base_ = './mamba-r-t_8xb128-100e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=384, reduction=2),
)
