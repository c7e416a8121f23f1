# SiMBA-L with the MLP on ImageNet-1k with token labels.
_base_ = './simba-s_token-label_8xb128-310e_in1k.py'

model = dict(
    backbone=dict(arch='large'),
    head=dict(classifier=dict(in_channels=512), class_block=dict(embed_dims=512)),
)
optim_wrapper = dict(clip_grad=dict(max_norm=1.0))
