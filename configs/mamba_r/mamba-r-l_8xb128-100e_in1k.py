# Mamba-R-L on ImageNet-1k, the second of three phases, from the weights of the first.
_base_ = './mamba-r-t_8xb128-100e_in1k.py'

model = dict(
    backbone=dict(arch='large'),
    neck=dict(in_channels=1024, num_registers=16, reduction=8),
    head=dict(in_channels=2048),
)
