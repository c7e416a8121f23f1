# UPerNet with EfficientVMamba-T on ADE20K, 160k iterations at batch 8x2. Its head has 256 channels, as the published
# 14 M parameters and 230 G FLOPs imply.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.EfficientVMamba', arch='tiny', drop_path_rate=0.1),
    decode_head=dict(in_channels=[48, 96, 192, 384], channels=256),
    auxiliary_head=dict(in_channels=192),
)
