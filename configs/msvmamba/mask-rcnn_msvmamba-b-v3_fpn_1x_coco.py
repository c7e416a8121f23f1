# Mask R-CNN with MSVMamba-B of the final version (v3) on COCO, 12 epochs.
_base_ = './mask-rcnn_msvmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='v3_base', drop_path_rate=0.5),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
