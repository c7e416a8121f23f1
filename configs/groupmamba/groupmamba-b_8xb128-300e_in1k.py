# GroupMamba-B on ImageNet-1k.
_base_ = './groupmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=512),
)
