# MambaVision-T2 on ImageNet-1k.
_base_ = './mambavision-t_32xb128-310e_in1k.py'

model = dict(backbone=dict(arch='tiny2'), head=dict(in_channels=640, loss_teacher=dict(loss_weight=0.75 * 50)))
