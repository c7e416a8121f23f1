# UPerNet with EfficientVMamba-S on ADE20K, 160k iterations. Its head has 384 channels, as the published 29 M parameters
# and 505 G FLOPs imply.
_base_ = './upernet_efficient-vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small'),
    decode_head=dict(in_channels=[64, 128, 256, 512], channels=384),
    auxiliary_head=dict(in_channels=256),
)
