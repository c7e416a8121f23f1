# SiMBA-S with the MLP on ImageNet-1k with token labels and MixToken.
_base_ = ['./simba-s_8xb128-310e_in1k.py', '../_base_/datasets/token-label_pipeline.py']

model = dict(type='mmmamba.TokenLabelClassifier', head=dict(type='mmmamba.TokenLabelHead'), train_cfg=None)
train_dataloader = dict(dataset=dict(pipeline=_base_.token_label_pipeline))
