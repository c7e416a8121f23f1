# GroupMamba-T on ImageNet-1k, taught by DeiT's RegNetY-160 from timm (hard distillation), as the authors do.
_base_ = './groupmamba-t_8xb128-300e_in1k.py'

model = dict(type='mmmamba.TaughtClassifier')
custom_hooks = [
    dict(type='EMAHook', momentum=1e-4, priority='ABOVE_NORMAL'),
    dict(
        type='mmmamba.TeacherHook',
        teacher=dict(type='TimmClassifier', model_name='regnety_160.deit_in1k', pretrained=True),
    ),
]
