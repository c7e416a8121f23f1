# Mask R-CNN with Vim-B on COCO, 12 epochs at batch 8x2.
_base_ = './mask-rcnn_vim-t_simple-fpn_1x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=768))
