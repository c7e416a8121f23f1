# Heracles-S, repaired, on ImageNet-1k, 310 epochs at batch 8x128, without the labels of a teacher for each pixel.
_base_ = [
    'mmpretrain::_base_/models/swin_transformer/tiny_224.py',
    'mmpretrain::_base_/datasets/imagenet_bs64_swin_224.py',
    'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py',
    '../_base_/default_runtime_cls.py',
]

model = dict(
    backbone=dict(_delete_=True, type='mmmamba.Heracles', arch='small', out_indices=(3,), final_norm=False),
    neck=None,
    head=dict(
        _delete_=True,
        type='mmmamba.ClassBlockHead',
        classifier=dict(
            type='LinearClsHead',
            num_classes=1000,
            in_channels=448,
            loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        ),
        class_block=dict(type='mmmamba.HeraclesClassBlock', embed_dims=448, num_heads=14),
    ),
)
train_dataloader = dict(batch_size=128)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(max_epochs=310)
