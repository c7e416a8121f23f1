# Mask R-CNN with Heracles-B, repaired, on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_heracles-s_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[64, 128, 320, 512]))
