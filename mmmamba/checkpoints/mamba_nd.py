"""Mamba-ND on images: the released classifiers.

Source: the authors' names and shapes in jacklishufan/Mamba-ND at 4f70284.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.one_direction import MAMBA_SSM
from mmmamba.checkpoints.whole_model import backbone_prefixed, split_backbone
from mmmamba.models.backbones.mamba_nd import ARCH, ARCH_DEFAULTS, resolve_arch


def key_map(last_layer: int) -> Pairs:
    """``(published, ours)`` names of a backbone in the authors' order, with the norm that we have in the neck."""
    return (
        ('pos_embed', 'backbone.pos_embed.weight'),
        ('patch_embed.projection.**', 'backbone.patch_embed.conv.**'),
        *((f'layers.*.mixer.{old}', f'backbone.layers.*.mixer.{new}') for old, new in MAMBA_SSM),
        ('layers.*.norm.**', 'backbone.layers.*.norm.**'),
        ('layers.*.down_sample_layer.reduction.**', 'backbone.downsamples.*.reduction.**'),
        ('layers.*.down_sample_layer.norm.**', 'backbone.downsamples.*.norm.**'),
        ('ln1.**', f'backbone.out_norms.{last_layer}.**'),
        ('ln2.**', 'neck.norm.**'),
        ('out_norm*.**', 'backbone.out_norms.*.**'),  # of other layers; the authors have none
    )


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.endswith('.mixer.x_proj.weight') for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict of a backbone under our names and in our order of channels.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    ours = rename(published, key_map(indices(published, 'layers')[-1]), 'published Mamba-ND')
    return {name: _by_neighbour(tensor) if '.downsamples.' in name else tensor for name, tensor in ours.items()}


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = key_map(indices(ours, 'backbone.layers')[-1])
    mine = {
        name: _by_channel(tensor) if '.downsamples.' in name else tensor
        for name, tensor in ours.items()
        if name.startswith(('backbone.', 'neck.norm.'))
    }
    around = {name: tensor for name, tensor in ours.items() if name not in mine}
    published = in_order_of(pairs, rename(mine, reverse(pairs), 'Mamba-ND'))
    return {**backbone_prefixed(published), **around} if around else published


def _by_neighbour(tensor: Tensor) -> Tensor:
    """From channel, row, column of the four neighbours' channels to our neighbours (column, row), then channel."""
    parts = tensor.unflatten(-1, (-1, 2, 2))  # (..., 4C) -> (..., C, row, column)
    return torch.movedim(parts, (-1, -2, -3), (-3, -2, -1)).flatten(-3)


def _by_channel(tensor: Tensor) -> Tensor:
    """The reverse."""
    parts = tensor.unflatten(-1, (2, 2, -1))  # (..., 4C) -> (..., column, row, C)
    return torch.movedim(parts, (-1, -2, -3), (-3, -2, -1)).flatten(-3)


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``MambaND``'s ``arch`` that show in shapes: not the size of the image and the drop path rate.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    ours = split_backbone(ours)[0]
    projection, mixer = ours['patch_embed.conv.weight'], 'layers.0.mixer'
    return dict(
        embed_dims=projection.shape[0],
        num_layers=len(indices(ours, 'layers')),
        patch_size=projection.shape[-1],
        downsample_layers=tuple(indices(ours, 'downsamples')),
        d_state=ours[f'{mixer}.branches.0.A_log'].shape[-1],
        d_conv=ours[f'{mixer}.branches.0.conv.weight'].shape[-1],
        expand=ours[f'{mixer}.out_proj.weight'].shape[1] / projection.shape[0],
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    arch='base', img_size=224, patch_size=16, in_channels=3, out_indices=-1, drop_rate=0.0, drop_path_rate=0.0,
    norm_cfg=dict(type='LN', eps=1e-6), norm_cfg_2=None, final_norm=True, out_type='avg_featmap', with_cls_token=False,
    interpolate_mode='bicubic', layer_scale_init_value=0.0, patch_cfg={}, layer_cfgs={}, pre_norm=False, is_2d=False,
    use_v2=False, force_a2=False, embed_dims=None, has_transpose=True, fused_add_norm=False, use_mlp=False,
    split_head=False, use_nd=False, downsample=(), expand=None, constant_dim=True, has_reverse=True,
    update_interval=None, duplicate=None, n_dim=2, num_layers=None, use_ref=False, d_state=16, num_classes=1000,
)  # fmt: skip
# The values that the released models have; others switch on parts that no released model uses.
SUPPORTED = dict(
    out_type=('avg_featmap',), with_cls_token=(False,), interpolate_mode=('bicubic',), layer_scale_init_value=(0,),
    patch_cfg=({},), layer_cfgs=({},), pre_norm=(False,), is_2d=(False,), use_v2=(False,), force_a2=(False,),
    fused_add_norm=(False,), use_mlp=(False,), split_head=(False,), use_nd=(False,), constant_dim=(True,),
    update_interval=(None,), duplicate=(None,), n_dim=(2,), use_ref=(False,),
)  # fmt: skip
# They decide nothing that loaded weights could show, or are derived from the others.
IRRELEVANT = (
    'qkv_bias', 'frozen_stages', 'num_layers_effective', 'embed_dims_effective', 'mixer',
)  # fmt: skip
SIZES = {'small': (384, 12), 'base': (768, 12)}  # mmpretrain's ViTs of these names; there are two Mamba layers for each


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'ImageClassifier(Mamba2DModel, LinearClsHead)'``.
        kwargs: the published keyword arguments of the backbone, and ``num_classes``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments(
        'Mamba-ND', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT
    )
    named = args['arch']
    if isinstance(named, str) and named not in SIZES:
        raise ValueError(f'Mamba-ND: published arch={named!r} is not supported; expected one of {sorted(SIZES)}')
    dims, layers = SIZES[named] if isinstance(named, str) else (named['embed_dims'], named['num_layers'])
    dims, eps = args['embed_dims'] or dims, args['norm_cfg'].get('eps', 1e-5)
    arch = dict(
        embed_dims=dims,
        num_layers=2 * (args['num_layers'] or layers),
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        downsample_layers=tuple(args['downsample'] or ()),
        d_state=args['d_state'],
        expand=args['expand'] or 2,
        out_norm_eps=eps,
    )
    transposes = ('', '', '.transpose', '.transpose') if args['has_transpose'] else ('', '', '', '')
    reverses = ('', '.reverse', '', '.reverse') if args['has_reverse'] else ('', '', '', '')
    backbone = dict(
        type='mmmamba.MambaND',
        arch={key: value for key, value in arch.items() if value != ARCH_DEFAULTS[key]},
        in_channels=args['in_channels'],
        scan=dict(type='alternating', scans=[f'raster{a}{b}' for a, b in zip(transposes, reverses, strict=True)]),
        final_norm=args['final_norm'],
        drop_rate=args['drop_rate'],
        drop_path_rate=args['drop_path_rate'],
    )
    config = arguments.classifier_config(backbone, args['num_classes'], dims)
    neck_eps = args['norm_cfg_2'].get('eps', 1e-5) if args['norm_cfg_2'] else eps
    return {**config, 'neck': dict(type='mmmamba.NormedAveragePooling', in_channels=dims, eps=neck_eps)}


MAMBA_ND = Family(
    name='mamba_nd',
    backbone='MambaND',
    stems=('patch_embed.conv.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
