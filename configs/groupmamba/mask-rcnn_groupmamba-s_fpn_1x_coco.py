# Mask R-CNN with GroupMamba-S on COCO, 12 epochs (settings of VMamba).
_base_ = './mask-rcnn_groupmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=[64, 128, 348, 512]),
)
