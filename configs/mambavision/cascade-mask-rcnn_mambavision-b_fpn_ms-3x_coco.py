# Cascade Mask R-CNN with MambaVision-B on COCO, as published.
_base_ = './cascade-mask-rcnn_mambavision-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[128, 256, 512, 1024]))
optim_wrapper = dict(optimizer=dict(lr=2e-4))
