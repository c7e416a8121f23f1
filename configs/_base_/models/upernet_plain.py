# UPerNet on a plain backbone of stride 16 that gives the maps of four layers, each brought to a resolution of its own,
# as BEiT has it. The config adds the backbone, its number of channels as the neck's embed_dim, and in_channels.
_base_ = './upernet.py'

model = dict(
    neck=dict(type='mmseg.Feature2Pyramid', rescales=[4, 2, 1, 0.5], norm_cfg=dict(type='SyncBN', requires_grad=True))
)
