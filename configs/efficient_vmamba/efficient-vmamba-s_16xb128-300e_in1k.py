# EfficientVMamba-S on ImageNet-1k.
_base_ = './efficient-vmamba-t_16xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
    head=dict(in_channels=512),
)
