# UPerNet with RSMamba-H on ADE20K.
_base_ = './upernet_rsmamba-b_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='huge', out_indices=(11, 23, 35, 47)),
    neck=dict(embed_dim=320),
    decode_head=dict(in_channels=[320, 320, 320, 320]),
    auxiliary_head=dict(in_channels=320),
)
