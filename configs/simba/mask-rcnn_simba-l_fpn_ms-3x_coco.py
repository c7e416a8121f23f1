# Mask R-CNN with SiMBA-L (MLP) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_simba-s_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='large'), neck=dict(in_channels=[96, 192, 384, 512]))
