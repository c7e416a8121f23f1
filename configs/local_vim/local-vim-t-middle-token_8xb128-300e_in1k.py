# LocalVim-T with a class token in the middle of the sequence on ImageNet-1k.
_base_ = './local-vim-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='tiny_middle_token'))
