# MSVMamba-S of the final version (v3) on ImageNet-1k.
_base_ = './msvmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='v3_small', drop_path_rate=0.4),
)
