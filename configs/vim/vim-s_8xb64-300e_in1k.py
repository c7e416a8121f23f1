# Vim-S on ImageNet-1k, 300 epochs at batch 8x64.
_base_ = './vim-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(arch='small'), head=dict(in_channels=384))
train_dataloader = dict(batch_size=64)
optim_wrapper = dict(optimizer=dict(weight_decay=0.05))
auto_scale_lr = dict(base_batch_size=512)
