# Mask R-CNN with VMamba-T of the first release (v0) on COCO, 12 epochs.
_base_ = './mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='v0_tiny'))
