# Mask R-CNN with MambaVision-B on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_mambavision-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[128, 256, 512, 1024]))
