# UPerNet with VMamba-S (s2l15) on ADE20K, 160k iterations.
_base_ = './upernet_vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='small_s2l15', drop_path_rate=0.3))
