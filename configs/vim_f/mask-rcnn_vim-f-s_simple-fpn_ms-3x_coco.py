# Mask R-CNN with Vim-F-S on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vim-f-t_simple-fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='small'), neck=dict(in_channels=384))
