# UPerNet with LocalVMamba-S on ADE20K, 160k iterations.
_base_ = './upernet_local-vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small', drop_path_rate=0.2),
)
