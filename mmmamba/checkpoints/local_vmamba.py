"""LocalVMamba: classifiers, dense backbones and the supernet of the search.

Source: the authors' names and shapes in hunto/LocalMamba at 75e5d1f.
"""

from functools import partial

import torch
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
from mmmamba.models.backbones.local_vmamba import ARCH, ROUTES, resolve_arch

BLOCK = (
    ('norm.**', 'norm1.**'),
    *under('op', 'mixer.scan', SCAN),
    ('op.out_norm.**', 'mixer.out_norm.**'),
    ('op.in_proj.**', 'mixer.in_proj.**'),
    ('op.conv2d.**', 'mixer.conv.**'),
    ('op.out_proj.**', 'mixer.out_proj.**'),
    ('op.multi_scan.weights', 'mixer.scan.route_logits'),
    ('op.multi_scan.attn.norm.**', 'mixer.scan.gate.norm.**'),
    ('op.multi_scan.attn.global_reduce.**', 'mixer.scan.gate.fc1.**'),
    ('op.multi_scan.attn.channel_select.**', 'mixer.scan.gate.fc2.**'),
)
LOGITS, KEPT = '.scan.route_logits', '.scan.kept'  # ours alone: which routes a search that has ended keeps


def key_map(last_stage: int | None) -> Pairs:
    """``(published, ours)`` names in the authors' order.

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
    ours = with_our_shapes(rename(published, pairs, 'published LocalVMamba'), 'published LocalVMamba')
    searching = {name: w.flatten() for name, w in ours.items() if name.endswith(LOGITS)}  # (K, 1, 1, 1) -> (K,)
    kept = {name.replace(LOGITS, KEPT): torch.zeros(len(w), dtype=torch.bool) for name, w in searching.items()}
    return {**ours, **searching, **kept}


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Returns:
        What the authors' VSSM (with a head) or Backbone_VSSM (without) loads.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    stages = len(indices(ours, 'backbone.stages'))
    pairs = key_map(stages - 1 if 'head.fc.weight' in ours else None)
    ours = {
        name: w[:, None, None, None] if name.endswith(LOGITS) else w
        for name, w in ours.items()
        if not name.endswith(KEPT)
    }
    return in_order_of(pairs, with_flat_states(rename(ours, reverse(pairs), 'LocalVMamba')))


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of a LocalVMamba from the shapes of its tensors, which do not tell the routes.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    blocks = [f'backbone.stages.{i}.blocks.0' for i in stages]
    dims = [ours[f'{block}.norm1.weight'].shape[0] for block in blocks]
    mixers = [f'{block}.mixer' for block in blocks]
    arch = dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=dims,
        **mixer_from_shapes(ours, mixers, dims, '.scan'),
        patch_size=ours['backbone.patch_embed.conv.weight'].shape[-1],
    )
    return dict(arch, routes='search') if f'{mixers[0]}{LOGITS}' in ours else arch


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    patch_size=4, in_chans=3, num_classes=1000, depths=[2, 2, 9, 2], dims=[96, 192, 384, 768], ssm_d_state=16,
    ssm_ratio=2.0, ssm_dt_rank='auto', ssm_act_layer='silu', ssm_conv=3, ssm_conv_bias=True,
    mlp_ratio=0.0, drop_path_rate=0.1, patch_norm=True, downsample_version='v1', directions=None, out_indices=None,
)  # fmt: skip
# The values that LocalVMamba builds; every released model keeps to them.
SUPPORTED = dict(
    ssm_act_layer=('silu',), ssm_conv=(3,), mlp_ratio=(0,), patch_norm=(True,),
    downsample_version=('v1',),
)  # fmt: skip
# The authors' code ignores them, or they decide initial values.
IRRELEVANT = ('ssm_simple_init', 'norm_layer', 'd_state')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call, with the released inverse of the column-major routes.

    Args:
        constructor: ``'VSSM(...)'`` (an mmpretrain classifier here) or ``'Backbone_VSSM(...)'`` (a backbone).
        kwargs: the published keyword arguments.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments('LocalVMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT)
    arch = dict(
        mixer_from_arguments(args),
        routes=_routes(args['directions'], sum(args['depths'])),
        patch_size=args['patch_size'],
    )
    return vssm_config(constructor, dict(type='mmmamba.LocalVMamba', arch=arch, released_inverse=True), args)


def _routes(directions: list | None, blocks: int) -> str | list[list[str]]:
    if directions is None:
        return 'search'
    return [[route(name) for name in block] for block in directions[:blocks]]


def route(name: str) -> str:
    """Our name of a published direction: ``h``, ``v`` or ``w`` and the window's size, with or without ``_flip``.

    Raises:
        ValueError: if it is none of these.
    """
    base, reversal = name.removesuffix('_flip'), '.reverse' if name.endswith('_flip') else ''
    if base.startswith('w') and base[1:].isdigit():
        return f'window:{base[1:]}{reversal}'
    if base not in ROUTES:
        raise ValueError(f"LocalMamba: published direction {name!r} is not known here; there are 'h', 'v', 'w2', ...")
    return f'{ROUTES[base]}{reversal}'


def with_true_inverse(config: dict) -> dict:
    """The config of a model that puts column-major routes back where they belong."""
    if 'backbone' in config:
        return dict(config, backbone=with_true_inverse(config['backbone']))
    return dict(config, released_inverse=False)


LOCAL_VMAMBA = Family(
    name='local_vmamba',
    backbone='LocalVMamba',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
    variants={'_true_inverse': with_true_inverse},
)
