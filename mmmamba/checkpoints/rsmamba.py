"""RSMamba: the released classifiers.

Source: the authors' names and shapes in KyanChen/RSMamba.
"""

import math
from collections.abc import Iterable

from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.one_direction import TRANSFORMERS
from mmmamba.checkpoints.whole_model import backbone_prefixed, split_backbone
from mmmamba.models.backbones.rsmamba import ARCH, ARCH_DEFAULTS, PATHS, resolve_arch


def key_map(last_layer: int) -> Pairs:
    """``(published, ours)`` names of a backbone in the authors' order, with the norm that we have in the neck."""
    return (
        ('cls_token', 'backbone.cls_token.weight'),
        ('pos_embed', 'backbone.pos_embed.weight'),
        ('patch_embed.projection.**', 'backbone.patch_embed.conv.**'),
        *((f'layers.*.{old}', f'backbone.layers.*.mixer.{new}') for old, new in TRANSFORMERS),
        ('gate_layers.*.0.weight', 'backbone.layers.*.gate.weight'),
        ('pre_norm.**', 'backbone.pre_norm.**'),
        ('ln1.**', f'backbone.out_norms.{last_layer}.**'),
        ('ln2.**', 'neck.norm.**'),
        ('out_norm*.**', 'backbone.out_norms.*.**'),  # of other layers; the authors have none
    )


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.startswith('layers.') and '.mixer.' not in name for name in names) and 'pos_embed' in names


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict of a backbone under our names.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    return rename(published, key_map(indices(published, 'layers')[-1]), 'published RSMamba')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(indices(ours, 'backbone.layers')[-1])
    mine = {name: tensor for name, tensor in ours.items() if name.startswith(('backbone.', 'neck.norm.'))}
    around = {name: tensor for name, tensor in ours.items() if name not in mine}
    published = in_order_of(pairs, rename(mine, reverse(pairs), 'RSMamba'))
    return {**backbone_prefixed(published), **around} if around else published


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``RSMamba``'s ``arch`` that show in shapes: not stride, image size, place of the class token.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    ours = split_backbone(ours)[0]
    projection, mixer = ours['patch_embed.conv.weight'], 'layers.0.mixer'
    dims, inner = projection.shape[0], ours[f'{mixer}.out_proj.weight'].shape[1]
    rank = ours[f'{mixer}.branches.0.dt_proj_weight'].shape[1]
    found = dict(
        embed_dims=dims,
        num_layers=len(indices(ours, 'layers')),
        inner_dims=0 if inner == 2 * dims else inner,
        patch_size=projection.shape[-1],
        d_state=ours[f'{mixer}.branches.0.A_log'].shape[-1],
        d_conv=ours[f'{mixer}.branches.0.conv.weight'].shape[-1],
        dt_rank='auto' if rank == math.ceil(dims / 16) else rank,
        conv_bias=f'{mixer}.branches.0.conv.bias' in ours,
        bias=f'{mixer}.in_proj.bias' in ours,
    )
    if 'layers.0.gate.weight' in ours:  # without a gate nothing shows how many paths there are
        count = ours['layers.0.gate.weight'].shape[0]
        found['paths'] = next(name for name, (paths, gated) in PATHS.items() if gated and paths == count)
    return found


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    arch='base', pe_type='learnable', path_type='forward_reverse_shuffle_gate', cls_position='none', img_size=224,
    patch_size=16, in_channels=3, out_indices=-1, drop_rate=0.0, norm_cfg=dict(type='LN', eps=1e-6), final_norm=True,
    out_type='avg_featmap', patch_cfg={}, layer_cfgs={}, num_classes=1000,
)  # fmt: skip
SUPPORTED = dict(
    pe_type=('learnable',), out_type=('avg_featmap', 'cls_token'), cls_position=('none', 'head', 'middle', 'tail')
)
# They decide nothing that loaded weights could show, or are derived from the others.
IRRELEVANT = (
    'frozen_stages', 'interpolate_mode', 'arch_settings', 'patch_cfg_effective', 'mixer', 'norm',
)  # fmt: skip
LAYER_DEFAULTS = dict(
    state_size=16, conv_kernel=4, time_step_rank='auto', use_conv_bias=True, use_bias=False, hidden_act='silu'
)
NAMES = {name[0]: name for name in ARCH}


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'ImageClassifier(RSMamba, LinearClsHead)'``.
        kwargs: the published keyword arguments of the backbone, and ``num_classes``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments(
        'RSMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT
    )
    layer = arguments.published_arguments(
        'RSMamba', args['layer_cfgs'], LAYER_DEFAULTS, supported=dict(hidden_act=('silu',))
    )
    patch = arguments.published_arguments('RSMamba', args['patch_cfg'], dict(stride=args['patch_size']), supported={})
    if isinstance(args['arch'], str):
        sizes = ARCH[NAMES.get(args['arch'], args['arch'])]
    else:
        names = dict(embed_dims='embed_dims', num_layers='num_layers', feedforward_channels='inner_dims')
        sizes = {ours: args['arch'][theirs] for theirs, ours in names.items()}
    arch = dict(
        **sizes,
        paths=args['path_type'],
        class_token=args['cls_position'],
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        patch_stride=patch['stride'],
        d_state=layer['state_size'],
        d_conv=layer['conv_kernel'],
        dt_rank=layer['time_step_rank'],
        conv_bias=layer['use_conv_bias'],
        bias=layer['use_bias'],
        norm_eps=args['norm_cfg'].get('eps', 1e-5),
    )
    is_pooled = args['out_type'] == 'avg_featmap'
    backbone = dict(
        type='mmmamba.RSMamba',
        arch={key: value for key, value in arch.items() if value != ARCH_DEFAULTS[key]},
        in_channels=args['in_channels'],
        out_type='featmap' if is_pooled else 'cls_token',
        final_norm=args['final_norm'],
        drop_rate=args['drop_rate'],
    )
    config = arguments.classifier_config(backbone, args['num_classes'], arch['embed_dims'])
    neck = dict(type='mmmamba.NormedAveragePooling', in_channels=arch['embed_dims'], eps=arch['norm_eps'])
    return {**config, 'neck': neck if is_pooled else None}


RSMAMBA = Family(
    name='rsmamba',
    backbone='RSMamba',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
