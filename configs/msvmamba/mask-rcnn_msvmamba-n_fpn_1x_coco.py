# Mask R-CNN with MSVMamba-N on COCO, 12 epochs.
_base_ = './mask-rcnn_msvmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='nano'),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
