# Search for the routes of LocalVMamba-T on ImageNet-1k, 100 epochs at batch 8x128; writes searched_scan.json.
_base_ = './local-vmamba-t_8xb128-300e_in1k.py'

model = dict(
    backbone=dict(arch='search_tiny'),
    head=dict(in_channels=256),
)
train_cfg = dict(max_epochs=100)
custom_hooks = [dict(type='mmmamba.FreezeRoutesHook')]
