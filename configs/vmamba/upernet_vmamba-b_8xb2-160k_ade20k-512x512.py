# UPerNet with VMamba-B (s2l15) on ADE20K, 160k iterations.
_base_ = './upernet_vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base_s2l15', drop_path_rate=0.6),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
