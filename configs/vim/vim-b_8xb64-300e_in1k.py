# Vim-B on ImageNet-1k; the authors print no recipe for it, so it is that of Vim-S.
_base_ = './vim-s_8xb64-300e_in1k.py'

model = dict(backbone=dict(arch='base'), head=dict(in_channels=768))
