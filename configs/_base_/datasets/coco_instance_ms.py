# COCO with boxes and masks, trained at the many scales and crops of DETR and Sparse R-CNN.
_base_ = 'mmdet::_base_/datasets/coco_instance.py'

short_sides = [(side, 1333) for side in range(480, 801, 32)]
crop = [
    dict(type='RandomChoiceResize', scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
    dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True),
]
resize = [dict(type='RandomChoiceResize', scales=short_sides, keep_ratio=True)]
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='RandomChoice', transforms=[resize, [*crop, *resize]]),
    dict(type='PackDetInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
