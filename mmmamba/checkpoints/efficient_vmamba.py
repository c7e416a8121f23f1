"""EfficientVMamba: classifiers and dense backbones.

Source: the authors' names and shapes in TerryPei/EfficientVMamba at 0bc5ee2.
"""

import re
from functools import partial

from torch import Tensor

from mmmamba.checkpoints.arguments import describe_arch, indices, published_arguments
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.ss2d import (
    DOWNSAMPLE,
    SCAN,
    STEM,
    is_published,
    mixer_from_arguments,
    mixer_from_shapes,
    under,
    vssm_config,
    whole_model,
    with_flat_states,
    with_our_shapes,
)
from mmmamba.models.backbones.efficient_vmamba import ARCH, SCANNING_STAGES, resolve_arch

# Both kinds of block in one list, since a name's place in it decides the order in which export writes them.
BLOCK = (
    ('norm.**', 'norm.**'),
    *under('op', 'mixer.scan', SCAN),
    ('op.out_norm.**', 'mixer.out_norm.**'),
    ('op.in_proj.**', 'mixer.in_proj.**'),
    ('op.conv2d.**', 'mixer.conv.**'),
    ('op.out_proj.**', 'mixer.out_proj.**'),
    ('conv_branch.0.**', 'branch.conv.**'),
    ('conv_branch.1.**', 'branch.norm.bn.**'),
    ('conv_branch.3.**', 'branch_fc.**'),
    ('conv_pw.0.**', 'fc1.**'),
    ('conv_pw.1.**', 'norm1.bn.**'),
    ('conv_dw.0.**', 'conv.conv.**'),
    ('conv_dw.1.**', 'conv.norm.bn.**'),
    ('se.norm.**', 'gate.norm.**'),
    ('se.global_reduce.**', 'gate.fc1.**'),
    ('se.channel_select.**', 'gate.fc2.**'),
    ('se.conv_reduce.**', 'squeeze.fc1.**'),
    ('se.conv_expand.**', 'squeeze.fc2.**'),
    ('conv_pw2.0.**', 'fc2.**'),
    ('conv_pw2.1.**', 'norm2.bn.**'),
)
# Published as 1x1 convolutions, (out, in, 1, 1).
CONVOLUTIONS = tuple(
    f'{name}.weight' for name in ('conv_branch.3', 'conv_pw.0', 'conv_reduce', 'conv_expand', 'conv_pw2.0')
)
# The later stages are one Sequential: a permutation at 0, the blocks, a permutation, the downsampling.
MEMBER = re.compile(r'layers\.(\d+)\.(\d+)\.(.+)')


def key_map(last_stage: int | None) -> Pairs:
    """``(published, ours)`` names in the authors' order, as if every stage had ``blocks`` and ``downsample``.

    Args:
        last_stage: index of the stage whose output norm is the classifier's; None for a dense backbone.
    """
    backbone = (
        *STEM['v1'],
        *under('layers.*.blocks.*', 'stages.*.blocks.*', BLOCK),
        *under('layers.*.downsample', 'stages.*.downsample', DOWNSAMPLE['merge']),
    )
    return whole_model(backbone, last_stage)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names and shapes.

    Args:
        published: a classifier (``classifier.*``) or a dense backbone (``outnorm*``).

    Returns:
        ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Raises:
        CheckpointError: if a name has no place in the key map, or tensors are missing.
    """
    is_classifier = any(name.startswith('classifier.') for name in published)
    pairs = key_map(len(indices(published, 'layers')) - 1 if is_classifier else None)
    ours = rename({_as_stage(name): w for name, w in published.items()}, pairs, 'published EfficientVMamba')
    return with_our_shapes(ours, 'published EfficientVMamba')


def _as_stage(name: str) -> str:
    """``layers.2.1.conv_pw...`` as ``layers.2.blocks.0.conv_pw...``, the last of them as ``layers.2.downsample...``."""
    match = MEMBER.fullmatch(name)
    if match is None:
        return name
    stage, number, rest = match.groups()
    if rest.startswith(('reduction.', 'norm.')):
        return f'layers.{stage}.downsample.{rest}'
    return f'layers.{stage}.blocks.{int(number) - 1}.{rest}'


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Returns:
        What the authors' EfficientVSSM (with a head) or Backbone_EfficientVSSM (without) loads.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    depths = arch_from_shapes(ours)['depths']
    pairs = key_map(len(depths) - 1 if 'head.fc.weight' in ours else None)
    published = in_order_of(pairs, with_flat_states(rename(ours, reverse(pairs), 'EfficientVMamba')))
    return {
        _as_member(name, depths): w[..., None, None] if name.endswith(CONVOLUTIONS) else w
        for name, w in published.items()
    }


def _as_member(name: str, depths: list[int]) -> str:
    """The reverse of ``_as_stage``."""
    match = re.fullmatch(r'layers\.(\d+)\.(?:blocks\.(\d+)|downsample)\.(.+)', name)
    if match is None or int(match[1]) < SCANNING_STAGES:
        return name
    stage, block, rest = match.groups()
    return f'layers.{stage}.{depths[int(stage)] + 2 if block is None else int(block) + 1}.{rest}'


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of an EfficientVMamba from the shapes of its tensors.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    scanning = [f'backbone.stages.{i}.blocks.0' for i in stages[:SCANNING_STAGES]]
    dims = [ours[f'{block}.norm.weight'].shape[0] for block in scanning]
    return dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=dims + [ours[f'backbone.stages.{i}.blocks.0.fc2.weight'].shape[0] for i in stages[SCANNING_STAGES:]],
        **mixer_from_shapes(ours, [f'{block}.mixer' for block in scanning], dims, '.scan'),
        patch_size=ours['backbone.patch_embed.conv.weight'].shape[-1],
    )


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    patch_size=4, in_chans=3, num_classes=1000, depths=[2, 2, 9, 2], dims=[96, 192, 384, 768], ssm_d_state=16,
    ssm_ratio=2.0, ssm_dt_rank='auto', ssm_act_layer='silu', ssm_conv=3, ssm_conv_bias=True,
    mlp_ratio=0.0, mlp_act_layer='gelu', drop_path_rate=0.1, patch_norm=True,
    downsample_version='v1', step_size=2, out_indices=None,
)  # fmt: skip
# The values that EfficientVMamba builds; every released model keeps to them.
SUPPORTED = dict(
    ssm_act_layer=('silu',), ssm_conv=(3,), mlp_ratio=(0,), mlp_act_layer=('gelu',), patch_norm=(True,),
    downsample_version=('v1',), step_size=(2,),
)  # fmt: skip
# The authors' code ignores them, or they decide initial values or speed.
IRRELEVANT = (
    *('ssm_rank_ratio', 'ssm_simple_init', 'forward_type', 'norm_layer', 'd_state', 'dt_rank'),
    *('shared_ssm', 'softmax_version', 'window_size'),
)


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call.

    Args:
        constructor: ``'EfficientVSSM(...)'`` (an mmpretrain classifier here) or ``'Backbone_EfficientVSSM(...)'``.
        kwargs: the published keyword arguments.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments(
        'EfficientVMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT
    )
    arch = dict(mixer_from_arguments(args), patch_size=args['patch_size'])
    return vssm_config(constructor, dict(type='mmmamba.EfficientVMamba', arch=arch), args)


EFFICIENT_VMAMBA = Family(
    name='efficient_vmamba',
    backbone='EfficientVMamba',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
)
