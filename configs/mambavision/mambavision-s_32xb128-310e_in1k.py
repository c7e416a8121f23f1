# MambaVision-S on ImageNet-1k.
_base_ = './mambavision-t_32xb128-310e_in1k.py'

model = dict(backbone=dict(arch='small'), head=dict(in_channels=768, loss_teacher=dict(loss_weight=1.0 * 50)))
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
