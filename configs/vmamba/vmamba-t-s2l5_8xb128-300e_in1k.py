# VMamba-T (s2l5) on ImageNet-1k.
_base_ = './vmamba-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='tiny_s2l5'))
