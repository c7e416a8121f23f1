# Mamba-R-B on ImageNet-1k, the first of three phases.
_base_ = './mamba-r-t_8xb128-300e_in1k-128px.py'

model = dict(
    backbone=dict(arch=dict(embed_dims=768, num_layers=24)),
    neck=dict(in_channels=768, reduction=4),
)
