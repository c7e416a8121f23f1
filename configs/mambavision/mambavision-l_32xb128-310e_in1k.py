# MambaVision-L on ImageNet-1k.
_base_ = './mambavision-t_32xb128-310e_in1k.py'

model = dict(backbone=dict(arch='large'), head=dict(in_channels=1568, loss_teacher=dict(loss_weight=6.0 * 50)))
optim_wrapper = dict(optimizer=dict(weight_decay=0.12))
