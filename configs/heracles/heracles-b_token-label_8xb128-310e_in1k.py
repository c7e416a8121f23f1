# Heracles-B, repaired, on ImageNet-1k with token labels.
_base_ = './heracles-s_token-label_8xb128-310e_in1k.py'

model = dict(
    backbone=dict(arch='base'),
    head=dict(classifier=dict(in_channels=512), class_block=dict(embed_dims=512, num_heads=16)),
)
