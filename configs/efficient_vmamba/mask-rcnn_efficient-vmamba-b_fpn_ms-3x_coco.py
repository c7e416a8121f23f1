# Mask R-CNN with EfficientVMamba-B on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_efficient-vmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
