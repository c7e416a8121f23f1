# Mamba-R-B on ImageNet-1k, the second of three phases, from the weights of the first.
_base_ = './mamba-r-t_8xb128-100e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=768, reduction=4),
)
