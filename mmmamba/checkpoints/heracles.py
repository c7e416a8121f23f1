"""Heracles: the classifiers that the authors' code would build once repaired; no trained weights are published.

Source: the authors' names and shapes in badripatro/heracles at 9c0f073, with the local branch repaired.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.files import CheckpointError
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.models.backbones.heracles import ARCH, resolve_arch

NORMS = (('norm1.**', 'norm1.**'), ('norm2.**', 'norm2.**'))
MLP = (
    ('mlp.fc1.**', 'mlp.fc1.**'),
    ('mlp.dwconv.dwconv.**', 'mlp.conv.**'),
    ('mlp.fc2.**', 'mlp.fc2.**'),
)
FILTER = (('attn.weight', 'mixer.filter'), ('attn.local_ssm.conv.**', 'mixer.conv.**'))
QUERY, KEY_VALUE = (('attn.q.**', 'mixer.q.**'),), (('attn.kv.**', 'mixer.kv.**'),)
PROJ = (('attn.proj.**', 'mixer.proj.**'),)
BLOCK = (*NORMS, *FILTER, *QUERY, *KEY_VALUE, *PROJ, *MLP)
CLASS_BLOCK = (*NORMS, *KEY_VALUE, *QUERY, *PROJ, *MLP)


def key_map(stages: int, is_classifier: bool) -> Pairs:
    """``(published, ours)`` names in the authors' order, before queries, keys and values are joined; stages from 1.

    Args:
        stages: how many there are.
        is_classifier: the last norm is then in the head, behind the class block.
    """
    pairs = [('patch_embed1.conv.**', 'backbone.patch_embed.convs.**')]
    for i in range(stages):
        before = 'patch_embed' if i == 0 else f'stages.{i - 1}.downsample'
        last = 'head.norm' if is_classifier else f'backbone.out_norms.{i}'
        pairs += [
            (f'patch_embed{i + 1}.proj.**', f'backbone.{before}.{"proj" if i == 0 else "conv"}.**'),
            (f'patch_embed{i + 1}.norm.**', f'backbone.{before}.norm.**'),
            *((f'block{i + 1}.*.{old}', f'backbone.stages.{i}.blocks.*.{new}') for old, new in BLOCK),
            (f'norm{i + 1}.**', f'{last if i == stages - 1 else f"backbone.stages.{i}.norm"}.**'),
        ]
    return (
        *pairs,
        *((f'post_network.0.{old}', f'head.class_block.{new}') for old, new in CLASS_BLOCK),
        ('head.**', 'head.classifier.fc.**'),
        ('aux_head.**', 'head.aux_fc.**'),
    )


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.startswith('block1.') for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map, or queries stand without keys and values.
    """
    stages = sum(f'patch_embed{i + 1}.proj.weight' in published for i in range(len(published)))
    apart = rename(published, key_map(stages, 'head.weight' in published), 'published Heracles')
    try:
        return {
            name.replace('.mixer.q.', '.mixer.qkv.'): torch.cat(
                [tensor, apart[name.replace('.mixer.q.', '.mixer.kv.')]]
            )
            if '.mixer.q.' in name
            else tensor
            for name, tensor in apart.items()
            if '.mixer.kv.' not in name
        }
    except KeyError as error:
        raise CheckpointError(f'published Heracles: the file is incomplete, {error.args[0]!r} is missing') from None


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    apart = {}
    for name, tensor in ours.items():
        if '.mixer.qkv.' in name:
            channels = tensor.shape[0] // 3
            apart[name.replace('qkv', 'q')], apart[name.replace('qkv', 'kv')] = tensor[:channels], tensor[channels:]
        else:
            apart[name] = tensor
    pairs = key_map(len(indices(ours, 'backbone.stages')), 'head.norm.weight' in ours)
    return in_order_of(pairs, rename(apart, reverse(pairs), 'Heracles'))


def infer_arch(ours: Weights) -> dict:
    """The keys of ``Heracles``' ``arch`` that show in shapes: all but heads and the drop path rate.

    Raises:
        CheckpointError: if a tensor that a Heracles must have is missing.
    """
    try:
        return _arch_from_shapes(ours)
    except KeyError as error:
        raise CheckpointError(f'these are not the weights of a Heracles: {error.args[0]!r} is missing') from None


def _arch_from_shapes(ours: Weights) -> dict:
    stages = indices(ours, 'backbone.stages')
    first = [f'backbone.stages.{i}.blocks.0' for i in stages]
    dims = [ours[f'{block}.norm1.weight'].shape[0] for block in first]
    hidden = [ours[f'{block}.mlp.fc1.weight'].shape[0] for block in first]
    return dict(
        embed_dims=dims,
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        mlp_ratios=[width / dim for width, dim in zip(hidden, dims, strict=True)],
        stem_dims=ours['backbone.patch_embed.convs.0.weight'].shape[0],
        img_size=4 * ours[f'{first[0]}.mixer.filter'].shape[-1],
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    in_chans=3, num_classes=1000, stem_hidden_dim=32, embed_dims=[64, 128, 320, 448], num_heads=[2, 4, 10, 14],
    mlp_ratios=[8, 8, 4, 4], drop_path_rate=0.0, depths=[3, 4, 6, 3], num_stages=4, token_label=True,
)  # fmt: skip
SUPPORTED = dict(num_stages=(4,))
# Left over in the authors' code, or fixed.
IRRELEVANT = ('sr_ratios', 'norm_layer')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'Heracles'`` or one of the authors' factories.
        kwargs: the published keyword arguments.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments(
        'Heracles', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT
    )
    per_stage = {key: list(args[key]) for key in ('embed_dims', 'depths', 'num_heads', 'mlp_ratios')}
    channels = per_stage['embed_dims'][-1]
    backbone = dict(
        type='mmmamba.Heracles',
        arch=dict(per_stage, stem_dims=args['stem_hidden_dim']),
        in_channels=args['in_chans'],
        drop_path_rate=args['drop_path_rate'],
        out_indices=(-1,),
        final_norm=False,
    )
    config = arguments.classifier_config(backbone, args['num_classes'], channels)
    class_block = dict(
        type='mmmamba.HeraclesClassBlock',
        embed_dims=channels,
        num_heads=per_stage['num_heads'][-1],
        mlp_ratio=per_stage['mlp_ratios'][-1],
    )
    head = dict(
        type='mmmamba.ClassBlockHead',
        classifier=config['head'],
        class_block=class_block,
        token_label=args['token_label'],
    )
    return {**config, 'neck': None, 'head': head}


HERACLES = Family(
    name='heracles',
    backbone='Heracles',
    stems=('patch_embed.convs.0.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    infer_arch=infer_arch,
    describe_arch=describe_arch,
    model_config=model_config,
)
