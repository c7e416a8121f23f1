# UPerNet with Heracles-S, repaired, on ADE20K, 160k iterations at batch 8x2.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.Heracles', arch='small'),
    decode_head=dict(in_channels=[64, 128, 320, 448]),
    auxiliary_head=dict(in_channels=320),
)
