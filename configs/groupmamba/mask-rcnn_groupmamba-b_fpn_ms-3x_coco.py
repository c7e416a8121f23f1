# Mask R-CNN with GroupMamba-B on COCO, 36 epochs at many scales (settings of VMamba).
_base_ = './mask-rcnn_groupmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=[96, 192, 424, 512]),
)
