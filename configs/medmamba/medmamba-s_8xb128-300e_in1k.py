# MedMamba-S on ImageNet-1k (settings of VMamba).
_base_ = './medmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
)
