# Mask R-CNN with MSVMamba-B of the final version (v3) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_msvmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='v3_base', drop_path_rate=0.5),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
