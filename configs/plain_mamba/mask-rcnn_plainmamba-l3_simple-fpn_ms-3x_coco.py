# Mask R-CNN with PlainMamba-L3 on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_plainmamba-l1_simple-fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='l3', drop_path_rate=0.3), neck=dict(in_channels=448))
