# Mask R-CNN with Heracles-B, repaired, on COCO.
_base_ = './mask-rcnn_heracles-s_fpn_1x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[64, 128, 320, 512]))
