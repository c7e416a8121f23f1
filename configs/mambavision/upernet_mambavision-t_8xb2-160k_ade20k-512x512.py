# UPerNet with MambaVision-T on ADE20K, 160k iterations at batch 8x2 (the authors ran 16x1).
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/schedule_160k_adamw.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 512)),
    backbone=dict(type='mmmamba.MambaVision', arch='tiny', window_sizes=(8, 8, 64, 32), drop_path_rate=0.2),
    decode_head=dict(in_channels=[80, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
