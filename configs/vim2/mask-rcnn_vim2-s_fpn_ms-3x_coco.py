# Mask R-CNN with ViM2-S on COCO, 36 epochs at many scales.
_base_ = './mask-rcnn_vim2-t_fpn_ms-3x_coco.py'

model = dict(backbone=dict(arch='small', drop_path_rate=0.3))
