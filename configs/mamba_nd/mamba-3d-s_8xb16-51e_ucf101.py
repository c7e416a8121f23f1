# Mamba-3D-S on clips of UCF-101, 51 epochs. Frames, epochs, videos on a GPU, learning rates and weight decay are the
# authors'; ours, as theirs are not known here, are 8 GPUs, cosine and head, and one clip of a video, not augmented.
_base_ = ['mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py', '../_base_/default_runtime_cls.py']

model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=101, mean=None, std=None, to_rgb=False),  # the clips are loaded normalised
    backbone=dict(type='mmmamba.MambaND3D', arch='small'),
    neck=dict(type='GlobalAveragePooling', dim=3),
    head=dict(type='LinearClsHead', num_classes=101, in_channels=384),
)
pipeline = [dict(type='mmmamba.LoadClip', num_frames=32), dict(type='PackInputs')]
dataset = dict(type='CustomDataset', data_root='data/ucf101', extensions=('.avi', '.mp4'), pipeline=pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(dataset, data_prefix='train'),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    dataset=dict(dataset, data_prefix='val'),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
test_dataloader = val_dataloader
val_evaluator = test_evaluator = dict(type='Accuracy', topk=(1, 5))
train_cfg = dict(max_epochs=51)
optim_wrapper = dict(
    optimizer=dict(lr=6e-4, weight_decay=0.02),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)]
auto_scale_lr = dict(base_batch_size=128)
