"""GroupMamba: the authors' classifiers.

Source: the authors' names and shapes in Amshaker/GroupMamba at c1800ed.
"""

from functools import partial

from torch import Tensor

from mmmamba.checkpoints.arguments import describe_arch, indices, published_arguments
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.numbered_stages import count_stages, is_published, trunk
from mmmamba.checkpoints.ss2d import SCAN, under, with_flat_states, with_our_shapes
from mmmamba.models.backbones.groupmamba import ARCH, resolve_arch

GROUPS = 4
GROUP = (
    *SCAN,
    ('out_norm.**', 'out_norm.**'),
    ('in_proj.**', 'in_proj.**'),
    ('conv2d.**', 'conv.**'),
    ('out_proj.**', 'out_proj.**'),
)
LAYER = (
    ('skip_scale', 'skip_scale'),
    ('fc1.**', 'affinity.fc1.**'),
    ('fc2.**', 'affinity.fc2.**'),
    ('norm.**', 'norm.**'),
    *(pair for g in range(GROUPS) for pair in under(f'mamba_g{g + 1}', f'groups.{g}', GROUP)),
    ('proj.**', 'proj.**'),
)
BLOCK = (
    ('norm2.**', 'norm.**'),
    *under('attn', 'mixer', LAYER),
    ('mlp.fc1.**', 'mlp.fc1.**'),
    ('mlp.dwconv.dwconv.**', 'mlp.conv.**'),
    ('mlp.fc2.**', 'mlp.fc2.**'),
)
CLASS_BLOCK = (
    ('norm1.**', 'norm1.**'),
    ('norm2.**', 'norm2.**'),
    *under('attn', 'mixer', LAYER),
    ('mlp.**', 'mlp.**'),
)


def key_map(stages: int) -> Pairs:
    """``(published, ours)`` names of a whole model in the authors' order.

    Args:
        stages: how many there are.
    """
    return (
        *trunk(BLOCK, stages, 'head.norm'),
        *under('post_network.0', 'head.block', CLASS_BLOCK),
        ('head.**', 'head.fc.**'),
        ('dist_head.**', 'head.dist_fc.**'),
        ('outnorm*.**', 'backbone.out_norms.*.**'),  # not published: what a dense backbone of ours adds
    )


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names and shapes.

    Args:
        published: a classifier, or one without its head.

    Returns:
        ``backbone.*`` and ``head.*``.

    Raises:
        CheckpointError: if a name has no place in the key map, or tensors are missing.
    """
    pairs = key_map(count_stages(published))
    return with_our_shapes(rename(published, pairs, 'published GroupMamba'), 'published GroupMamba')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.*``.

    Returns:
        What the authors' GroupMamba loads; of a backbone alone, all but what belongs to the class token.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(len(indices(ours, 'backbone.stages')))
    return in_order_of(pairs, with_flat_states(rename(ours, reverse(pairs), 'GroupMamba')))


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of a GroupMamba from the shapes of its tensors.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    mlps = [ours[f'backbone.stages.{i}.blocks.0.mlp.fc1.weight'].shape for i in stages]
    ours['backbone.stages.0.blocks.0.mixer.skip_scale']  # tells it from other models
    return dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=[dim for _, dim in mlps],
        mlp_ratios=tuple(hidden / dim for hidden, dim in mlps),
        stem_dims=ours['backbone.patch_embed.convs.0.weight'].shape[0],
    )


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    in_chans=3, num_classes=1000, stem_hidden_dim=32, embed_dims=[64, 128, 348, 448], mlp_ratios=[8, 8, 4, 4],
    drop_path_rate=0.0, depths=[3, 4, 9, 3], num_stages=4, distillation=True,
)  # fmt: skip


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'GroupMamba(...)'``.
        kwargs: the published keyword arguments.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments(
        'GroupMamba', kwargs, PUBLISHED_DEFAULTS, supported={}, irrelevant=('norm_layer', 'qkv_bias')
    )
    stages = args['num_stages']
    arch = dict(
        embed_dims=list(args['embed_dims'])[:stages],
        depths=list(args['depths'])[:stages],
        mlp_ratios=list(args['mlp_ratios'])[:stages],
        stem_dims=args['stem_hidden_dim'],
    )
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(
            type='mmmamba.GroupMamba',
            arch=arch,
            in_channels=args['in_chans'],
            drop_path_rate=args['drop_path_rate'],
            out_indices=(stages - 1,),
        ),
        head=dict(
            type='mmmamba.GroupMambaClsHead',
            num_classes=args['num_classes'],
            in_channels=arch['embed_dims'][-1],
            mlp_ratio=arch['mlp_ratios'][-1],
            distillation=args['distillation'],
        ),
    )


GROUPMAMBA = Family(
    name='groupmamba',
    backbone='GroupMamba',
    stems=('patch_embed.convs.0.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
)
