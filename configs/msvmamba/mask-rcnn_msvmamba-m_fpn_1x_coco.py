# Mask R-CNN with MSVMamba-M on COCO, 12 epochs.
_base_ = './mask-rcnn_msvmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='micro'),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
