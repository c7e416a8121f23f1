# Mask R-CNN with Mamba-R-L on COCO, 12 epochs at batch 8x2.
_base_ = './mask-rcnn_mamba-r-t_simple-fpn_1x_coco.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=1024))
