# Mamba-R-L on ImageNet-1k, the last of three phases, from the weights of the second.
_base_ = './mamba-r-t_8xb64-20e_in1k.py'

model = dict(
    backbone=dict(arch='large'),
    neck=dict(in_channels=1024, num_registers=16, reduction=8),
    head=dict(in_channels=2048),
)
