# SiMBA-L with EinFFT on ImageNet-1k with token labels.
_base_ = './simba-l_token-label_8xb128-310e_in1k.py'

model = dict(
    backbone=dict(arch='large_einfft'),
    head=dict(class_block=dict(channel_mixer='einfft')),
)
