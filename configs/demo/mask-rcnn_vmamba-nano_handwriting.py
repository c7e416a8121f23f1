# Mask R-CNN from scratch on scenes of handwritten digits, 2 epochs of 200 iterations, for two CPU cores.
_base_ = [
    'mmdet::_base_/models/mask-rcnn_r50_fpn.py',
    'mmdet::_base_/datasets/coco_instance.py',
    './_base_/handwriting.py',
    '../_base_/default_runtime_det.py',
]

norm_cfg = dict(type='BN')
model = dict(
    backbone=dict(_delete_=True, **_base_.nano),
    neck=dict(in_channels=_base_.nano['arch']['embed_dims'], out_channels=64, num_outs=4, norm_cfg=norm_cfg),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        # Digits are 20 to 56 px high, 1.3 to 2 times as high as wide.
        anchor_generator=dict(scales=[4, 5.66], ratios=[1.6], strides=[4, 8, 16, 32]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(roi_layer=dict(sampling_ratio=1), out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=10, reg_class_agnostic=True),
        mask_roi_extractor=dict(roi_layer=dict(sampling_ratio=1), out_channels=64),
        mask_head=dict(
            num_convs=2, in_channels=64, conv_out_channels=64, num_classes=10, class_agnostic=True, norm_cfg=norm_cfg
        ),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=200), rcnn=dict(sampler=dict(num=48))),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=100)),
)

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
data_root = 'data/handwriting/coco/'
data = dict(data_root=data_root, metainfo=dict(classes=tuple('0123456789')))
train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_train.json', data_prefix=dict(img='train/'), pipeline=train_pipeline, **data
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    dataset=dict(
        ann_file='annotations/instances_val.json', data_prefix=dict(img='val/'), pipeline=test_pipeline, **data
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val.json')
test_evaluator = val_evaluator

train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=400, T_max=300, eta_min=0),
]
randomness = dict(seed=0)
