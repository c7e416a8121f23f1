# Mask R-CNN with RSMamba-L on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_rsmamba-b_simple-fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=256))
