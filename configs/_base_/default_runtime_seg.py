# Every segmentation config: mmseg's runtime, and mmmamba's registry. Written out, as are the other segmentation bases:
# mmengine 0.10 looks for `mmseg::` in a distribution named mmsegmentation and does not find onedl-mmsegmentation.
default_scope = 'mmseg'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False

tta_model = dict(type='SegTTAModel')
