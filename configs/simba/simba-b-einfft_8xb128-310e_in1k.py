# SiMBA-B with EinFFT on ImageNet-1k.
_base_ = './simba-b_8xb128-310e_in1k.py'

model = dict(
    backbone=dict(arch='base_einfft'),
    head=dict(class_block=dict(channel_mixer='einfft')),
)
