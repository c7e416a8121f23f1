# UPerNet with VMamba-T (s2l5) on ADE20K, 160k iterations.
_base_ = './upernet_vmamba-t_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='tiny_s2l5'))
