# Cascade Mask R-CNN with MambaVision-S on COCO, as published.
_base_ = './cascade-mask-rcnn_mambavision-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='small'), neck=dict(in_channels=[96, 192, 384, 768]))
