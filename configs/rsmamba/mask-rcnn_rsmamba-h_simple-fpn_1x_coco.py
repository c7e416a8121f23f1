# Mask R-CNN with RSMamba-H on COCO.
_base_ = './mask-rcnn_rsmamba-b_simple-fpn_1x_coco.py'

model = dict(backbone=dict(arch='huge'), neck=dict(in_channels=320))
