# EfficientVMamba-B on ImageNet-1k, which the authors ran at batch 16x64.
_base_ = './efficient-vmamba-t_16xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=768),
)
