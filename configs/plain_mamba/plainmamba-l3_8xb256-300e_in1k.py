# PlainMamba-L3 on ImageNet-1k, in fp32.
_base_ = './plainmamba-l2_8xb256-300e_in1k.py'

model = dict(backbone=dict(arch='l3'), head=dict(in_channels=448))
