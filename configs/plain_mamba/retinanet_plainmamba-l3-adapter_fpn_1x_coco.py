# RetinaNet with PlainMamba-L3 in a ViT-Adapter on COCO.
_base_ = './retinanet_plainmamba-l1-adapter_fpn_1x_coco.py'

model = dict(
    backbone=dict(backbone=dict(arch='l3', drop_path_rate=0.3), num_heads=8, drop_path_rate=0.3),
    neck=dict(in_channels=[448, 448, 448, 448]),
)
