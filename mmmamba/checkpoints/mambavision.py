"""MambaVision: the released classifiers, and the backbones of the authors' detectors and segmentors.

Source: the authors' names and shapes in NVlabs/MambaVision at 7860a50.
"""

from collections.abc import Iterable

from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.one_route import PROJECTIONS, STATE_SPACE, with_route_axis, without_route_axis
from mmmamba.models.backbones.mambavision import ARCH, CONV_STAGES, resolve_arch

MIXER = (
    *STATE_SPACE,
    ('in_proj.**', 'in_proj.**'),
    *PROJECTIONS,
    ('out_proj.**', 'out_proj.**'),
    ('conv1d_x.**', 'conv_x.**'),
    ('conv1d_z.**', 'conv_z.**'),
    ('qkv.**', 'qkv.**'),
    ('proj.**', 'proj.**'),
)
# Those of convolutional and of hybrid blocks in one list: their orders agree.
BLOCK = (
    ('gamma', 'scale.gamma'),
    ('gamma_1', 'scale1.gamma'),
    ('gamma_2', 'scale2.gamma'),
    ('conv1.**', 'conv1.**'),
    ('norm1.**', 'norm1.**'),
    *((f'mixer.{old}', f'mixer.{new}') for old, new in MIXER),
    ('conv2.**', 'conv2.**'),
    ('norm2.**', 'norm2.**'),
    ('mlp.**', 'mlp.**'),
)
STEM = (
    ('patch_embed.conv_down.0.**', 'patch_embed.conv1.**'),
    ('patch_embed.conv_down.1.**', 'patch_embed.norm1.**'),
    ('patch_embed.conv_down.3.**', 'patch_embed.conv2.**'),
    ('patch_embed.conv_down.4.**', 'patch_embed.norm2.**'),
)


def key_map(last_stage: int | None) -> Pairs:
    """``(published, ours)`` names in the authors' order.

    Args:
        last_stage: index of the stage whose output norm is the classifier's; None for a dense backbone.
    """
    backbone = [
        *STEM,
        *((f'levels.*.blocks.*.{old}', f'stages.*.blocks.*.{new}') for old, new in BLOCK),
        ('levels.*.downsample.reduction.0.**', 'stages.*.downsample.**'),
    ]
    head = ()
    if last_stage is None:
        backbone.append(('outnorm*.**', 'out_norms.*.**'))
    else:
        backbone.append(('norm.**', f'out_norms.{last_stage}.bn.**'))
        head = (('head.**', 'head.fc.**'),)
    return (*((old, f'backbone.{new}') for old, new in backbone), *head)


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.startswith(('levels.', 'model.levels.')) for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names and shapes.

    Args:
        published: a classifier (``norm``, ``head``; the hub's copies prefix ``model.``) or a dense backbone.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    published = {name.removeprefix('model.'): tensor for name, tensor in published.items()}
    last_stage = indices(published, 'levels')[-1] if 'norm.weight' in published else None
    return with_route_axis(rename(published, key_map(last_stage), 'published MambaVision'))


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    last_stage = indices(ours, 'backbone.stages')[-1] if 'head.fc.weight' in ours else None
    pairs = key_map(last_stage)
    return in_order_of(pairs, rename(without_route_axis(ours), reverse(pairs), 'MambaVision'))


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``MambaVision``'s ``arch`` that show in shapes: not heads, windows, and the drop path rate.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stem = ours['backbone.patch_embed.conv1.weight'].shape[0]
    dims = [ours['backbone.patch_embed.conv2.weight'].shape[0]]
    stages = indices(ours, 'backbone.stages')
    dims += [ours[f'backbone.stages.{i}.downsample.weight'].shape[0] for i in stages[:-1]]
    hybrid = f'backbone.stages.{CONV_STAGES}.blocks'
    last = f'{hybrid}.{indices(ours, hybrid)[-1]}'
    has_scales = (f'{hybrid}.0.scale1.gamma' in ours, 'backbone.stages.0.blocks.0.scale.gamma' in ours)
    return dict(
        embed_dims=dims,
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        stem_dims=stem,
        d_state=ours[f'{hybrid}.0.mixer.A_log'].shape[-1],
        conv_size=ours[f'{hybrid}.0.mixer.conv_x.weight'].shape[-1],
        mlp_ratio=ours[f'{hybrid}.0.mlp.fc1.weight'].shape[0] / dims[CONV_STAGES],
        qkv_bias=f'{last}.mixer.qkv.bias' in ours or f'{last}.mixer.qkv.weight' not in ours,
        layer_scale=1e-5 if has_scales[0] else 0.0,  # the released initial value; a file holds the trained ones
        conv_layer_scale=1e-5 if has_scales[1] else 0.0,
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    dim=80, in_dim=32, depths=[1, 3, 8, 4], window_size=[8, 8, 14, 7], mlp_ratio=4, num_heads=[2, 4, 8, 16],
    drop_path_rate=0.2, in_chans=3, num_classes=1000, qkv_bias=True, qk_scale=None, layer_scale=None,
    layer_scale_conv=None, out_indices=None,
)  # fmt: skip
# Any image size is taken; the mixer's settings are fixed and the attention blocks follow from the depths; the dense
# backbone has no norm but this one.
IRRELEVANT = ('img_size', 'resolution', 'mixer', 'transformer_blocks', 'norm_layer')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call: a classifier, or with ``out_indices`` a backbone.

    Args:
        constructor: ``'MambaVision'`` or one of the authors' factories, or the dense tasks' ``'MM_mamba_vision'``.
        kwargs: the published keyword arguments.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments(
        'MambaVision', kwargs, PUBLISHED_DEFAULTS, supported=dict(qk_scale=(None,)), irrelevant=IRRELEVANT
    )
    depths = list(args['depths'])
    dims = [args['dim'] * 2**i for i in range(len(depths))]
    arch = dict(
        embed_dims=dims,
        depths=depths,
        num_heads=list(args['num_heads']),
        window_sizes=list(args['window_size']),
        stem_dims=args['in_dim'],
        mlp_ratio=args['mlp_ratio'],
        qkv_bias=args['qkv_bias'],
        layer_scale=args['layer_scale'] or 0.0,
        conv_layer_scale=args['layer_scale_conv'] or 0.0,
    )
    backbone = dict(
        type='mmmamba.MambaVision',
        arch=arch,
        in_channels=args['in_chans'],
        drop_path_rate=args['drop_path_rate'],
    )
    if args['out_indices'] is not None:
        return dict(backbone, out_indices=tuple(args['out_indices']))
    backbone.update(out_indices=(len(depths) - 1,), out_norm='BN')
    return arguments.classifier_config(backbone, args['num_classes'], dims[-1])


MAMBAVISION = Family(
    name='mambavision',
    backbone='MambaVision',
    stems=('patch_embed.conv1.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
