# UPerNet with Heracles-B, repaired, on ADE20K.
_base_ = './upernet_heracles-s_8xb2-160k_ade20k-512x512.py'

model = dict(backbone=dict(arch='base'), decode_head=dict(in_channels=[64, 128, 320, 512]))
