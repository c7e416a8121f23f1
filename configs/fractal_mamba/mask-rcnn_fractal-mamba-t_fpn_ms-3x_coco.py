# Mask R-CNN with FractalMamba-T on COCO, 36 epochs at many scales.
_base_ = '../vmamba/mask-rcnn_vmamba-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(type='mmmamba.FractalMamba', arch='tiny'))
