# UPerNet with PlainMamba-L3 on ADE20K.
_base_ = './upernet_plainmamba-l1_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='l3', out_indices=(8, 17, 26, 35), drop_path_rate=0.3),
    decode_head=dict(in_channels=[448, 448, 448, 448]),
    auxiliary_head=dict(in_channels=448),
)
