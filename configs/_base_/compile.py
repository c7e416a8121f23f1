# torch.compile of the training step. Add it to a config of your own, or set it for one run:
# - _base_ = ['../vmamba/vmamba-t_8xb128-300e_in1k.py', '../_base_/compile.py']
# - python tools/train.py CONFIG --cfg-options compile=True
# The first iterations take minutes. Images of many sizes (detection) compile again for each.
compile = dict(backend='inductor')
