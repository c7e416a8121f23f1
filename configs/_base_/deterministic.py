# The same losses and weights from the same seed, bit for bit, on the same machine and number of processes.
# Add it to a config of your own, or set it for one run:
# - _base_ = ['../demo/cls_vmamba-nano_handwriting.py', '../_base_/deterministic.py']
# - python tools/train.py CONFIG --cfg-options deterministic=True
# The seed is that of `randomness`, or 0. Operations that have no deterministic version are an error that names them.
deterministic = True
