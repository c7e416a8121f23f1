# UPerNet with MSVMamba-S of the final version (v3) on ADE20K, 160k iterations.
_base_ = './upernet_msvmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='v3_small', drop_path_rate=0.4),
)
