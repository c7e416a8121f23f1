# UPerNet from scratch on scenes of handwritten digits, 1000 iterations, for two CPU cores.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_512x512.py',
    './_base_/handwriting.py',
    '../_base_/default_runtime_seg.py',
]

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=_base_.nano,
    decode_head=dict(
        in_channels=_base_.nano['arch']['embed_dims'],
        channels=64,
        dropout_ratio=0.0,
        num_classes=11,
        norm_cfg=dict(type='BN'),
        # mmseg starts the last layer at a std of 0.01, from which so short a run does not get past "all background".
        init_cfg=dict(type='Normal', std=0.1, override=dict(name='conv_seg')),
        # Background, class 0, covers seven eighths of the pixels. It counts in the mean IoU like any other class.
        loss_decode=dict(class_weight=[0.25] + [1.0] * 10),
    ),
    auxiliary_head=None,
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))

pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
colours = ['000000', 'e6194b', '3cb44b', 'ffe119', '4363d8', 'f58231', '911eb4', '46f0f0', 'f032e6', 'd2f53c', 'fabebe']
dataset = dict(
    type='BaseSegDataset',
    data_root='data/handwriting/ade20k',
    img_suffix='.png',
    metainfo=dict(classes=('background', *'0123456789'), palette=[list(bytes.fromhex(colour)) for colour in colours]),
    pipeline=pipeline,
)
train_dataloader = dict(batch_size=8, num_workers=1, dataset=dataset)
val_dataloader = dict(num_workers=1, dataset=dataset)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=1000, val_interval=200)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=1000, T_max=900, eta_min=0),
]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=100, max_keep_ckpts=3),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='SegVisualizationHook'),
)
randomness = dict(seed=0)
