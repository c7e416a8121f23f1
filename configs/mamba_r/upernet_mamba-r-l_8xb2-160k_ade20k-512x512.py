# UPerNet with Mamba-R-L on ADE20K.
_base_ = './upernet_mamba-r-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='large', out_indices=(11, 23, 35, 47)),
    neck=dict(embed_dim=1024),
    decode_head=dict(in_channels=[1024, 1024, 1024, 1024]),
    auxiliary_head=dict(in_channels=1024),
)
