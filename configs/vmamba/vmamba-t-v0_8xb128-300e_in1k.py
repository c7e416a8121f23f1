# VMamba-T of the first release (v0) on ImageNet-1k, trained without EMA.
_base_ = './vmamba-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='v0_tiny'))
custom_hooks = []
