# Mask R-CNN with MedMamba-B on COCO, 12 epochs (settings of VMamba).
_base_ = './mask-rcnn_medmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='base'),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
