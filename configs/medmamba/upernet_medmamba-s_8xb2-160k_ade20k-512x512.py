# UPerNet with MedMamba-S on ADE20K, 160k iterations (settings of VMamba).
_base_ = './upernet_medmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(
    backbone=dict(arch='small'),
)
