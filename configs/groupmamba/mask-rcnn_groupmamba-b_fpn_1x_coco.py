# Mask R-CNN with GroupMamba-B on COCO, 12 epochs (settings of VMamba).
_base_ = './mask-rcnn_groupmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=[96, 192, 424, 512]),
)
