# RetinaNet with EfficientVMamba-B on COCO, 12 epochs.
_base_ = './retinanet_efficient-vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='base'), neck=dict(in_channels=[192, 384, 768]))
