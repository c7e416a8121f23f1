# Mask R-CNN with VMamba-B (s2l15) on COCO, 12 epochs.
_base_ = './mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='base_s2l15', drop_path_rate=0.6),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
