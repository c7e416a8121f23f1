# FractalMamba-T on ImageNet-1k, 300 epochs at batch 8x128, with VMamba's recipe.
_base_ = '../vmamba/vmamba-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(type='mmmamba.FractalMamba', arch='tiny'))
