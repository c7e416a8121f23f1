# Mask R-CNN with MSVMamba-N on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_msvmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='nano'),
    neck=dict(in_channels=[48, 96, 192, 384]),
)
