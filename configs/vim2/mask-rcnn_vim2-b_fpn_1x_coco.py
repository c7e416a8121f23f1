# Mask R-CNN with ViM2-B on COCO, 12 epochs.
_base_ = './mask-rcnn_vim2-t_fpn_1x_coco.py'

model = dict(backbone=dict(arch='base', drop_path_rate=0.6), neck=dict(in_channels=[128, 256, 512, 1024]))
