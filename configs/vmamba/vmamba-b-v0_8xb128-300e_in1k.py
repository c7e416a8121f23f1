# VMamba-B of the first release (v0) on ImageNet-1k.
_base_ = './vmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='v0_base', drop_path_rate=0.6),
    head=dict(in_channels=1024),
)
