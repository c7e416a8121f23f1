# Mask R-CNN with VMamba-S of the first release (v0) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vmamba-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='v0_small', drop_path_rate=0.3))
