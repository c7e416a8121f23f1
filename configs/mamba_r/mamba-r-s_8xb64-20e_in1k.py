# Mamba-R-S on ImageNet-1k, the last of three phases, from the weights of the second.
_base_ = './mamba-r-t_8xb64-20e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=384, reduction=2),
)
