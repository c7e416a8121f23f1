# LocalVMamba-S on ImageNet-1k.
_base_ = './local-vmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='small'),
)
