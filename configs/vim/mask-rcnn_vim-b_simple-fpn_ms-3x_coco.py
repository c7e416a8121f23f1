# Mask R-CNN with Vim-B on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vim-t_simple-fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
