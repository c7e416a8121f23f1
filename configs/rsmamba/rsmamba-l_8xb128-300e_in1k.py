# RSMamba-L on ImageNet-1k.
_base_ = './rsmamba-b_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=256), head=dict(in_channels=256))
