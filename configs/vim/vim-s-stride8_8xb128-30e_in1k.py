# Vim-S at stride 8, 30 epochs at a constant rate from the weights of stride 16, which init_cfg has to name.
_base_ = './vim-s_8xb64-300e_in1k.py'

model = dict(backbone=dict(arch='small_stride8', drop_path_rate=0.0))
train_dataloader = dict(batch_size=128)
optim_wrapper = dict(optimizer=dict(lr=1e-5, weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', start_factor=1.0, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=1024)
