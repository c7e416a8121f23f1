# UPerNet with EfficientVMamba-B on ADE20K, 160k iterations.
_base_ = './upernet_efficient-vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='base'),
    decode_head=dict(in_channels=[96, 192, 384, 768], channels=512),
    auxiliary_head=dict(in_channels=384),
)
