# Mamba-R-L on ImageNet-1k, the first of three phases.
_base_ = './mamba-r-t_8xb128-300e_in1k-128px.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=1024, num_layers=48, registers=16)),
    neck=dict(in_channels=1024, num_registers=16, reduction=8),
    head=dict(in_channels=2048),
)
