# UPerNet with GroupMamba-S on ADE20K, 160k iterations (settings of VMamba).
_base_ = './upernet_groupmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small'),
    decode_head=dict(in_channels=[64, 128, 348, 512]),
    auxiliary_head=dict(in_channels=348),
)
