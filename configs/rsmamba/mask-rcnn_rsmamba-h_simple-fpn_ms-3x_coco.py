# Mask R-CNN with RSMamba-H on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_rsmamba-b_simple-fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='huge'), neck=dict(in_channels=320))
