# RetinaNet with EfficientVMamba-S on COCO, 12 epochs.
_base_ = './retinanet_efficient-vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='small'), neck=dict(in_channels=[128, 256, 512]))
