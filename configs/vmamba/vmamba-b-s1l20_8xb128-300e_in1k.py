# VMamba-B (s1l20) on ImageNet-1k.
_base_ = './vmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='base_s1l20', drop_path_rate=0.5),
    head=dict(in_channels=1024),
)
