# Mask R-CNN with LocalVMamba-S on COCO, 12 epochs.
_base_ = './mask-rcnn_local-vmamba-t_fpn_1x_coco.py'

model = dict(
    backbone=dict(arch='small'),
)
