# Mamba-R-B on ImageNet-1k, the last of three phases, from the weights of the second.
_base_ = './mamba-r-t_8xb64-20e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=768, reduction=4),
)
