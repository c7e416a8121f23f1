# Mask R-CNN with VMamba-S (s2l15) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vmamba-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='small_s2l15', drop_path_rate=0.3))
