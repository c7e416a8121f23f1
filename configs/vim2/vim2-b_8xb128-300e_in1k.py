# ViM2-B on ImageNet-1k, 300 epochs at batch 8x128.
_base_ = './vim2-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.6), head=dict(in_channels=1024))
