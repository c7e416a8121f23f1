# DeepSpeed ZeRO 2 in bf16: gradients and optimizer state are sharded. Needs a GPU and `pip install deepspeed`.
# - _base_ = ['../vmamba/vmamba-b_8xb128-300e_in1k.py', '../_base_/strategies/deepspeed_zero2.py']
# - tools/dist_train.sh my_config.py 8
# Checkpoints are DeepSpeed's folders; clip_grad and accumulative_counts of the optim_wrapper are handed over to it.
# Not together with EMAHook.
runner_type = 'mmmamba.FlexibleRunner'
strategy = dict(
    type='DeepSpeedStrategy',
    bf16=dict(enabled=True),
    zero_optimization=dict(stage=2, overlap_comm=True, contiguous_gradients=True, reduce_bucket_size=1e8),
)
