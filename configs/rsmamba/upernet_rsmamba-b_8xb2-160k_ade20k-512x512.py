# UPerNet with RSMamba-B on ADE20K, 160k iterations at batch 8x2; the authors have none.
_base_ = [
    '../_base_/models/upernet_plain.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.RSMamba', arch='base', out_indices=(5, 11, 17, 23)),
    neck=dict(embed_dim=192, rescales=[2, 1, 0.5, 0.25]),
    decode_head=dict(in_channels=[192, 192, 192, 192]),
    auxiliary_head=dict(in_channels=192),
)
