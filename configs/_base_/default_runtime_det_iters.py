# The runtime of detection configs whose training is counted in iterations.
_base_ = './default_runtime_det.py'

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=7375), logger=dict(log_metric_by_epoch=False))
log_processor = dict(by_epoch=False)
