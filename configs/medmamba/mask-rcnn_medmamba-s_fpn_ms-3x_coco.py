# Mask R-CNN with MedMamba-S on COCO, 36 epochs at many scales (settings of VMamba).
_base_ = './mask-rcnn_medmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='small'),
)
