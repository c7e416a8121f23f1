# MSVMamba-N on ImageNet-1k.
_base_ = './msvmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='nano'),
    head=dict(in_channels=384),
)
