# UPerNet with MSVMamba-N on ADE20K, 160k iterations.
_base_ = './upernet_msvmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='nano', drop_path_rate=0.1),
    decode_head=dict(in_channels=[48, 96, 192, 384]),
    auxiliary_head=dict(in_channels=192),
)
