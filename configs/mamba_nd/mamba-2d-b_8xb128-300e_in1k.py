# Mamba-2D-B/8 on ImageNet-1k.
_base_ = './mamba-2d-s_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768), head=dict(in_channels=768))
