# UPerNet with ViM2-B on ADE20K, 160k iterations at batch 8x2.
_base_ = './upernet_vim2-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base', drop_path_rate=0.6),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
