# RetinaNet with PlainMamba-L2 in a ViT-Adapter on COCO.
_base_ = './retinanet_plainmamba-l1-adapter_fpn_1x_coco.py'

model = dict(
    backbone=dict(backbone=dict(arch='l2', drop_path_rate=0.2), drop_path_rate=0.2),
    neck=dict(in_channels=[384, 384, 384, 384]),
)
