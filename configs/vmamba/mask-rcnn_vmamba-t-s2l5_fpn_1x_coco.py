# Mask R-CNN with VMamba-T (s2l5) on COCO, 12 epochs.
_base_ = './mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='tiny_s2l5'))
