# Mask R-CNN with SiMBA-B (MLP) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_simba-s_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[64, 128, 320, 512]))
