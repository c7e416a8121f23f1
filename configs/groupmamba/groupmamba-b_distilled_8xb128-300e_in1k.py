# GroupMamba-B on ImageNet-1k, taught by DeiT's RegNetY-160.
_base_ = './groupmamba-t_distilled_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(in_channels=512),
)
