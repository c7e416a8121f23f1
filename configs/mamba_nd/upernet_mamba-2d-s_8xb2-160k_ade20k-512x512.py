# UPerNet with Mamba-2D-S/8 on ADE20K, 160k iterations at batch 8x2; the authors have none.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.MambaND', arch='small', out_indices=(5, 11, 17, 23)),  # strides 8, 16, 16, 16
    neck=dict(type='mmmamba.SimpleFeaturePyramid', in_channels=384, out_channels=384, scales=(2, 2, 1, 0.5)),
    decode_head=dict(in_channels=[384, 384, 384, 384]),
    auxiliary_head=dict(in_channels=384),
)
