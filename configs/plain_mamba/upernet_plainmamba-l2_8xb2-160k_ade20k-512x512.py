# UPerNet with PlainMamba-L2 on ADE20K.
_base_ = './upernet_plainmamba-l1_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='l2', out_indices=(5, 11, 17, 23), drop_path_rate=0.2),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
