# SiMBA-B with EinFFT on ImageNet-1k with token labels.
_base_ = './simba-b_token-label_8xb128-310e_in1k.py'

model = dict(
    backbone=dict(arch='base_einfft'),
    head=dict(class_block=dict(channel_mixer='einfft')),
)
