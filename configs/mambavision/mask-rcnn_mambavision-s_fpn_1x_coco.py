# Mask R-CNN with MambaVision-S on COCO.
_base_ = './mask-rcnn_mambavision-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='small'), neck=dict(in_channels=[96, 192, 384, 768]))
