# FSDP: each process keeps a shard of weights, gradients and optimizer state; one unit for each block of the backbone.
# Add it to a config of your own, and start as many processes as there are GPUs:
# - _base_ = ['../vmamba/mask-rcnn_vmamba-b_fpn_1x_coco.py', '../_base_/strategies/fsdp.py']
# - tools/dist_train.sh my_config.py 8
# Checkpoints are whole, as without it. Not together with EMAHook. CPUs work as well, with gloo.
runner_type = 'mmmamba.FlexibleRunner'
strategy = dict(type='mmmamba.FSDPStrategy')
