# AdamW for backbones of the kind of Vim: no weight decay on the states' parameters, norms, positions and class tokens.
_base_ = 'mmpretrain::_base_/schedules/imagenet_bs1024_adamw_swin.py'

optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys={
            'A_log': dict(decay_mult=0.0),
            '.D': dict(decay_mult=0.0),
            'dt_proj_bias': dict(decay_mult=0.0),
            'norm.weight': dict(decay_mult=0.0),
            'out_norms': dict(decay_mult=0.0),
            'pos_embed': dict(decay_mult=0.0),
            'cls_token': dict(decay_mult=0.0),
        }
    )
)
