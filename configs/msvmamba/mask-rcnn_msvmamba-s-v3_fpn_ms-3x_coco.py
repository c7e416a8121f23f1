# Mask R-CNN with MSVMamba-S of the final version (v3) on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_msvmamba-t_fpn_ms-3x_coco.py'

model = dict(
    backbone=dict(arch='v3_small', drop_path_rate=0.4),
)
