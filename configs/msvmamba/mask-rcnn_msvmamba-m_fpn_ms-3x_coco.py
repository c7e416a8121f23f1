# Mask R-CNN with MSVMamba-M on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_msvmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='micro'),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
