# Mask R-CNN with RSMamba-L on COCO.
_base_ = './mask-rcnn_rsmamba-b_simple-fpn_1x_coco.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=256))
