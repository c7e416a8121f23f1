# LocalVim-S on ImageNet-1k.
_base_ = './local-vim-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='small'), head=dict(in_channels=384))
