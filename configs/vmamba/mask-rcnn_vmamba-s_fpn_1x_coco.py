# Mask R-CNN with VMamba-S (s2l15) on COCO, 12 epochs.
_base_ = './mask-rcnn_vmamba-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='small_s2l15', drop_path_rate=0.3))
