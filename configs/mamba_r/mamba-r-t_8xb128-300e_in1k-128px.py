# Mamba-R-T on ImageNet-1k, the first of three phases: 300 epochs at 128x128 and batch 8x128.
_base_ = './mamba-r-t_8xb128-100e_in1k.py'

train_pipeline, test_pipeline = _base_.train_pipeline, _base_.test_pipeline
train_pipeline[1].scale = 128
test_pipeline[1].scale = 146
test_pipeline[2].crop_size = 128

model = dict(backbone=dict(arch=dict(_delete_=True, embed_dims=192, num_layers=24, img_size=128), drop_path_rate=0.1))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=True, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=True, begin=5),
]
train_cfg = dict(max_epochs=300)
