# Mask R-CNN with MedMamba-S on COCO, 12 epochs (settings of VMamba).
_base_ = './mask-rcnn_medmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='small'),
)
