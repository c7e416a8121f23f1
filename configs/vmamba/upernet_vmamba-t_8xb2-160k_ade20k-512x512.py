# UPerNet with VMamba-T (s1l8) on ADE20K, 160k iterations at batch 8x2 (the authors ran 4x4).
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.VMamba', arch='tiny_s1l8', drop_path_rate=0.2),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
