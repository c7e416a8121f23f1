# Mask R-CNN on a plain backbone of stride 16, by a simple feature pyramid, otherwise as mmdet has it. The config adds
# the backbone and the neck's in_channels.
_base_ = 'mmdet::_base_/models/mask-rcnn_r50_fpn.py'

model = dict(neck=dict(_delete_=True, type='mmmamba.SimpleFeaturePyramid', out_channels=256, num_outs=5))
