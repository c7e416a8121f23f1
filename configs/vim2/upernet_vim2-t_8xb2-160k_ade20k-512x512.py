# UPerNet with ViM2-T on ADE20K, 160k iterations at batch 8x2.
_base_ = '../vmamba/upernet_vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(type='mmmamba.ViM2', arch='tiny'))
