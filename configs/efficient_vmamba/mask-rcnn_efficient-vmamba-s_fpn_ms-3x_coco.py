# Mask R-CNN with EfficientVMamba-S on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_efficient-vmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
