# What the demos share: the backbone, the optimizer, averaged weights. `nano` is read by the configs, not by a library.
# BatchNorm in the stem and between the stages learns faster from scratch than the LayerNorm of the published models.
nano = dict(
    type='mmmamba.VMamba',
    arch=dict(embed_dims=[48, 96, 160, 224], depths=[1, 1, 2, 1], ssm_ratio=1.0, norm='BN'),
)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=10),
)
custom_hooks = [dict(type='EMAHook', momentum=0.01)]
sync_bn = 'torch'  # several processes normalise by the global batch, as one does
