# UPerNet with Mamba-2D-B/8 on ADE20K.
_base_ = './upernet_mamba-2d-s_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=768, out_channels=768),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
