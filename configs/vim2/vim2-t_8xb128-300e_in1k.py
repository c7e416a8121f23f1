# ViM2-T on ImageNet-1k, 300 epochs at batch 8x128, with VMamba's recipe.
_base_ = '../vmamba/vmamba-t_8xb128-300e_in1k.py'

model = dict(backbone=dict(type='mmmamba.ViM2', arch='tiny'))
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'averages': dict(decay_mult=0.0),
            'branches.0.D': dict(decay_mult=0.0),
            'branches.1.D': dict(decay_mult=0.0),
        }
    )
)
