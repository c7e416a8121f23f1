# Mask R-CNN with VMamba-T (s2l5) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vmamba-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='tiny_s2l5'))
