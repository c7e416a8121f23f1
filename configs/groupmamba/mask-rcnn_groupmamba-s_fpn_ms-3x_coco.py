# Mask R-CNN with GroupMamba-S on COCO, 36 epochs at many scales (settings of VMamba).
_base_ = './mask-rcnn_groupmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='small'),
    neck=dict(in_channels=[64, 128, 348, 512]),
)
