# UPerNet with RSMamba-L on ADE20K.
_base_ = './upernet_rsmamba-b_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='large', out_indices=(8, 17, 26, 35)),
    neck=dict(embed_dim=256),
    decode_head=dict(in_channels=[256, 256, 256, 256]),
    auxiliary_head=dict(in_channels=256),
)
