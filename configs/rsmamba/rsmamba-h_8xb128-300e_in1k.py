# RSMamba-H on ImageNet-1k.
_base_ = './rsmamba-b_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='huge'), neck=dict(in_channels=320), head=dict(in_channels=320))
