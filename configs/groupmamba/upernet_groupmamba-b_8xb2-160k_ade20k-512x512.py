# UPerNet with GroupMamba-B on ADE20K, 160k iterations (settings of VMamba).
_base_ = './upernet_groupmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base'),
    decode_head=dict(in_channels=[96, 192, 424, 512]),
    auxiliary_head=dict(in_channels=424),
)
