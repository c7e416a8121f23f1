# Mask R-CNN with ViM2-T on COCO, 36 epochs at many scales at batch 8x2.
_base_ = '../vmamba/mask-rcnn_vmamba-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(type='mmmamba.ViM2', arch='tiny'))
