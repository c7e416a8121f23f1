"""MedMamba: the authors' classifiers.

Source: the authors' names and shapes in YubiaoYue/MedMamba.
"""

from functools import partial

from torch import Tensor

from mmmamba.checkpoints.arguments import classifier_config, describe_arch, indices, published_arguments
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import in_order_of, rename, reverse
from mmmamba.checkpoints.ss2d import (
    DOWNSAMPLE,
    SCAN,
    is_published,
    mixer_from_shapes,
    stage_widths,
    under,
    with_flat_states,
    with_our_shapes,
)
from mmmamba.models.backbones.medmamba import ARCH, resolve_arch

BLOCK = (
    ('ln_1.**', 'norm.**'),
    *under('self_attention', 'mixer', SCAN),
    ('self_attention.in_proj.**', 'mixer.in_proj.**'),
    ('self_attention.conv2d.**', 'mixer.conv.**'),
    ('self_attention.out_norm.**', 'mixer.out_norm.**'),
    ('self_attention.out_proj.**', 'mixer.out_proj.**'),
    ('conv33conv33conv11.0.**', 'conv.norm1.bn.**'),
    ('conv33conv33conv11.1.**', 'conv.conv1.**'),
    ('conv33conv33conv11.2.**', 'conv.norm2.bn.**'),
    ('conv33conv33conv11.4.**', 'conv.conv2.**'),
    ('conv33conv33conv11.5.**', 'conv.norm3.bn.**'),
    ('conv33conv33conv11.7.**', 'conv.fc.**'),
)
BACKBONE = (
    ('patch_embed.proj.**', 'patch_embed.conv.**'),
    ('patch_embed.norm.**', 'patch_embed.norm.**'),
    *under('layers.*.blocks.*', 'stages.*.blocks.*', BLOCK),
    *under('layers.*.downsample', 'stages.*.downsample', DOWNSAMPLE['merge']),
    ('outnorm*.**', 'out_norms.*.**'),  # not published: what a dense backbone of ours adds
)
KEY_MAP = (*((old, f'backbone.{new}') for old, new in BACKBONE), ('head.**', 'head.fc.**'))
CONVOLUTION = 'conv33conv33conv11.7.weight'  # published as a 1x1 convolution, (out, in, 1, 1)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names and shapes.

    Args:
        published: a classifier.

    Returns:
        ``backbone.*`` and ``head.fc.*``.

    Raises:
        CheckpointError: if a name has no place in the key map, or tensors are missing.
    """
    return with_our_shapes(rename(published, KEY_MAP, 'published MedMamba'), 'published MedMamba')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Returns:
        What the authors' VSSM loads; of a backbone alone, all but the head.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    published = in_order_of(KEY_MAP, with_flat_states(rename(ours, reverse(KEY_MAP), 'MedMamba')))
    return {name: w[..., None, None] if name.endswith(CONVOLUTION) else w for name, w in published.items()}


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of a MedMamba from the shapes of its tensors.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    blocks = [f'backbone.stages.{i}.blocks.0' for i in stages]
    halves = [ours[f'{block}.norm.weight'].shape[0] for block in blocks]
    ours[f'{blocks[0]}.conv.conv1.weight']  # tells it from other models
    return dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=[2 * half for half in halves],
        **mixer_from_shapes(ours, [f'{block}.mixer' for block in blocks], halves),
        patch_size=ours['backbone.patch_embed.conv.weight'].shape[-1],
    )


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    patch_size=4, in_chans=3, num_classes=1000, depths=[2, 2, 4, 2], dims=[96, 192, 384, 768], d_state=16,
    drop_path_rate=0.1, norm_layer='LayerNorm', patch_norm=True, SS2D={},
)  # fmt: skip
# The values that MedMamba builds; every released model keeps to them.
SUPPORTED = dict(norm_layer=('layernorm',), patch_norm=(True,))
# What the mixer of a block is told, as cases say it; the rank is a formula there.
MIXER_DEFAULTS = dict(d_state=None, d_conv=3, expand=2, dt_rank=None, conv_bias=True, bias=False)
MIXER_SUPPORTED = dict(d_conv=(3,), bias=(False,))


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'VSSM'``.
        kwargs: the published keyword arguments; ``SS2D`` says what the mixer is told.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments('MedMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED)
    mixer = published_arguments('MedMamba SS2D', args['SS2D'], MIXER_DEFAULTS, supported=MIXER_SUPPORTED)
    depths = list(args['depths'])
    arch = dict(
        depths=depths,
        embed_dims=stage_widths(args['dims'], len(depths)),
        d_state=mixer['d_state'] or args['d_state'],
        ssm_ratio=mixer['expand'],
        dt_rank=mixer['dt_rank'] if isinstance(mixer['dt_rank'], int) else 'auto',
        conv_bias=mixer['conv_bias'],
        patch_size=args['patch_size'],
    )
    last = len(depths) - 1
    backbone = dict(
        type='mmmamba.MedMamba',
        arch=arch,
        in_channels=args['in_chans'],
        drop_path_rate=args['drop_path_rate'],
        out_indices=(last,),
    )
    return classifier_config(backbone, args['num_classes'], arch['embed_dims'][last])


MEDMAMBA = Family(
    name='medmamba',
    backbone='MedMamba',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
)
