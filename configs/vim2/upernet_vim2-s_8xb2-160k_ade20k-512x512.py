# UPerNet with ViM2-S on ADE20K, 160k iterations at batch 8x2.
_base_ = './upernet_vim2-t_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.3))
