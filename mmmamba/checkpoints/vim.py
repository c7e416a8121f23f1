"""Vim: the released classifiers and what else its constructor builds.

Source: the authors' names and shapes in hustvl/Vim at dd0358a.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.bidirectional import LAYER, MIXER_IRRELEVANT, layer_pairs, layers_from_shapes
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.whole_model import split_backbone
from mmmamba.models.backbones.vim import ARCH, ARCH_DEFAULTS, MIXER_DEFAULTS, resolve_arch

ENDS = ('cls_token_head', 'cls_token_tail')  # two tensors of the authors, one of ours


def key_map(last_layer: int, has_head: bool) -> Pairs:
    """``(published, ours)`` names of a whole model in the authors' order."""
    return (
        ('cls_token', 'backbone.cls_tokens.weight'),
        ('pos_embed', 'backbone.pos_embed.weight'),
        ('patch_embed.proj.**', 'backbone.patch_embed.conv.**'),
        ('rope.freqs_cos', 'backbone.rope.cos'),
        ('rope.freqs_sin', 'backbone.rope.sin'),
        ('head.**', 'head.fc.**'),
        *layer_pairs(LAYER, last_layer, has_head),
    )


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.endswith('.mixer.x_proj.weight') for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(indices(published, 'layers')[-1], has_head=True)
    return rename(with_joined_ends(published), pairs, 'published Vim')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(indices(ours, 'backbone.layers')[-1], 'head.fc.weight' in ours)
    return with_separate_ends(in_order_of(pairs, rename(ours, reverse(pairs), 'Vim')))


def with_joined_ends(published: Weights) -> dict[str, Tensor]:
    """The authors' tensors with two class tokens, where there are, in one ``cls_token``."""
    weights = dict(published)
    if ENDS[0] in weights and ENDS[1] in weights:
        weights['cls_token'] = torch.cat([weights.pop(name) for name in ENDS], dim=1)
    return weights


def with_separate_ends(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The reverse, the two class tokens first."""
    token = published.get('cls_token')
    if token is None or token.shape[1] == 1:
        return published
    rest = {name: tensor for name, tensor in published.items() if name != 'cls_token'}
    return {**dict(zip(ENDS, token.split(1, dim=1), strict=True)), **rest}


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``Vim``'s ``arch`` that show in shapes.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    backbone = split_backbone(ours)[0]
    return dict(
        layers_from_shapes(backbone),
        patch_size=backbone['patch_embed.conv.weight'].shape[-1],
        pos_embed='pos_embed.weight' in backbone,
        rope='rope.cos' in backbone,
        bidirectional='layers.0.mixer.branches.1.D' in backbone,
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    img_size=224, patch_size=16, stride=16, depth=24, embed_dim=192, d_state=16, channels=3, num_classes=1000,
    ssm_cfg=None, drop_path_rate=0.1, norm_epsilon=1e-5, rms_norm=False, pt_hw_seq_len=14, if_bidirectional=False,
    final_pool_type='none', if_abs_pos_embed=False, if_rope=False, if_rope_residual=False,
    flip_img_sequences_ratio=-1.0, if_bimamba=False, bimamba_type='none', if_cls_token=False, if_divide_out=True,
    init_layer_scale=None, use_double_cls_token=False, use_middle_cls_token=False,
)  # fmt: skip
SUPPORTED = dict(
    if_bidirectional=(False,), final_pool_type=('none', 'mean'), flip_img_sequences_ratio=(-1,), if_bimamba=(False,),
    bimamba_type=('none', 'v2'),
)  # fmt: skip
# They decide speed or initial values only, or are not looked at: the rotation is that of img_size, and base is
# registered with a misspelt `if_devide_out`.
IRRELEVANT = ('initializer_cfg', 'fused_add_norm', 'residual_in_fp32', 'ft_seq_len', 'if_devide_out', 'mixer')


def published_arguments(model: str, kwargs: dict) -> dict:
    """The authors' arguments of a Vim or Vim-F, complete and checked.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    return arguments.published_arguments(model, kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT)


def mixer_arch(model: str, args: dict) -> dict:
    """The keys of ``MIXER_DEFAULTS`` for complete arguments.

    Raises:
        ValueError: if ``ssm_cfg`` has a key without a counterpart here.
    """
    defaults = {**MIXER_DEFAULTS, 'd_state': args.get('d_state', 16)}
    return arguments.published_arguments(
        model, args['ssm_cfg'] or {}, defaults, supported={}, irrelevant=MIXER_IRRELEVANT
    )


def class_token(args: dict) -> str:
    """Where the class token stands, as ``arch`` says it."""
    if not args['if_cls_token']:
        return 'none'
    if args['use_double_cls_token']:
        return 'ends'
    return 'middle' if args['use_middle_cls_token'] else 'head'


def trunk_arch(model: str, args: dict) -> dict:
    """What an arch says of all but the patch and position embeddings."""
    return dict(
        embed_dims=args['embed_dim'],
        num_layers=args['depth'],
        class_token=class_token(args),
        pool='mean' if args['final_pool_type'] == 'mean' else 'last',
        bidirectional=args['bimamba_type'] == 'v2',
        average=args['if_divide_out'],
        norm='RMS' if args['rms_norm'] else 'LN',
        norm_eps=args['norm_epsilon'],
        layer_scale=args['init_layer_scale'] or 0.0,
        **mixer_arch(model, args),
    )


def classifier_config(kind: str, arch: dict, args: dict) -> dict:
    """A classifier of what the backbone pools."""
    backbone = dict(
        type=f'mmmamba.{kind}',
        arch=arch,
        in_channels=args['channels'],
        drop_path_rate=args['drop_path_rate'],
        out_type='pooled',
    )
    head = dict(type='mmpretrain.LinearClsHead', num_classes=args['num_classes'], in_channels=arch['embed_dims'])
    return dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'VisionMamba'`` or one of the released sizes' names.
        kwargs: the published keyword arguments.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments('Vim', kwargs)
    arch = dict(
        trunk_arch('Vim', args),
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        stride=args['stride'],
        pos_embed=args['if_abs_pos_embed'],
        rope=args['if_rope'],
        rope_residual=args['if_rope_residual'],
        rope_length=args['pt_hw_seq_len'],
    )
    return classifier_config('Vim', {key: value for key, value in arch.items() if value != ARCH_DEFAULTS[key]}, args)


VIM = Family(
    name='vim',
    backbone='Vim',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
