# Mask R-CNN with LocalVMamba-S on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_local-vmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='small'),
)
