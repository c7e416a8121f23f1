# UPerNet with Vim-F-S on ADE20K.
_base_ = './upernet_vim-f-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(embed_dim=384),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
