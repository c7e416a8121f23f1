# Mask R-CNN with VMamba-B of the first release (v0) on COCO, 12 epochs.
_base_ = './mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='v0_base', drop_path_rate=0.6),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
