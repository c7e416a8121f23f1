# Mask R-CNN with ViM2-T on COCO, 12 epochs at batch 8x2.
_base_ = '../vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(type='mmmamba.ViM2', arch='tiny'))
