# UPerNet with Vim-B on ADE20K.
_base_ = './upernet_vim-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(embed_dim=768),
    decode_head=dict(in_channels=[768, 768, 768, 768]),
    auxiliary_head=dict(in_channels=768),
)
