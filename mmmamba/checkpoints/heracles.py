"""Heracles: the classifiers that the authors' code would build once repaired; no trained weights are published.

Source: the authors' names and shapes in badripatro/heracles at 9c0f073, with the local branch repaired.
"""

import torch
from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.files import CheckpointError
from mmmamba.checkpoints.key_map import in_order_of, rename, reverse
from mmmamba.checkpoints.numbered_stages import classifier_trunk, count_stages, is_published, with_class_block
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


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map, or queries stand without keys and values.
    """
    apart = rename(
        published,
        classifier_trunk(BLOCK, CLASS_BLOCK, count_stages(published), 'head.weight' in published),
        'published Heracles',
    )
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
    pairs = classifier_trunk(BLOCK, CLASS_BLOCK, len(indices(ours, 'backbone.stages')), 'head.norm.weight' in ours)
    return in_order_of(pairs, rename(apart, reverse(pairs), 'Heracles'))


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``Heracles``' ``arch`` that show in shapes: all but heads and the drop path rate.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
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
    backbone = dict(type='mmmamba.Heracles', arch=dict(per_stage, stem_dims=args['stem_hidden_dim']))
    class_block = dict(type='mmmamba.HeraclesClassBlock', num_heads=per_stage['num_heads'][-1])
    return with_class_block(backbone, class_block, args)


HERACLES = Family(
    name='heracles',
    backbone='Heracles',
    stems=('patch_embed.convs.0.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
