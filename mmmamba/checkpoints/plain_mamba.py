"""PlainMamba: the released classifiers, detectors and segmentors, whose backbones have the same names.

Source: the authors' names and shapes in ChenhongyiYang/PlainMamba at 0975a1d.
"""

from collections.abc import Iterable

from torch import Tensor

from mmmamba.checkpoints import arguments, bidirectional
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.one_route import PROJECTIONS, STATE_SPACE, with_route_axis, without_route_axis
from mmmamba.checkpoints.whole_model import join_backbone, split_backbone
from mmmamba.models.backbones.plain_mamba import ARCH, ARCH_DEFAULTS, resolve_arch

LAYER = (
    ('norm.**', 'norm.**'),
    ('dw.**', 'dwconv.**'),
    *((f'mamba.{old}', f'mixer.scan.{new}') for old, new in STATE_SPACE),
    ('mamba.direction_Bs', 'mixer.scan.direction_B'),
    ('mamba.in_proj.**', 'mixer.in_proj.**'),
    ('mamba.conv2d.**', 'mixer.conv.**'),
    *((f'mamba.{old}', f'mixer.scan.{new}') for old, new in PROJECTIONS),
    ('mamba.out_proj.**', 'mixer.out_proj.**'),
)


def key_map(last_layer: int) -> Pairs:
    """``(published, ours)`` names of a backbone in the authors' order; its last layer's norm has a name of its own."""
    return (
        ('pos_embed', 'pos_embed.weight'),
        ('patch_embed.stem.**', 'patch_embed.stem.**'),
        ('patch_embed.convs.**', 'patch_embed.convs.**'),
        ('patch_embed.projection.**', 'patch_embed.conv.**'),
        *((f'layers.*.{old}', f'layers.*.{new}') for old, new in LAYER),
        ('ln1.**', f'out_norms.{last_layer}.**'),
        ('norm_layer*.**', 'out_norms.*.**'),
    )


def is_published(names: Iterable[str]) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any('.mamba.' in name for name in names)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict of a backbone under our names and shapes.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    last_layer = indices(published, 'layers')[-1]
    pairs = [(old, f'backbone.{new}') for old, new in key_map(last_layer)]
    return with_route_axis(rename(published, pairs, 'published PlainMamba'))


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    backbone, around = split_backbone(ours)
    pairs = key_map(indices(backbone, 'layers')[-1])
    published = in_order_of(pairs, rename(without_route_axis(backbone), reverse(pairs), 'PlainMamba'))
    return join_backbone(published, around)


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``PlainMamba``'s ``arch`` that show in shapes: not the size of the image and the drop path rate.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    ours = split_backbone(ours)[0]
    projection, mixer = ours['patch_embed.conv.weight'], 'layers.0.mixer'
    layers, dims = indices(ours, 'layers'), projection.shape[0]
    rank = ours[f'{mixer}.scan.dt_proj_weight'].shape[-1]
    return dict(
        embed_dims=dims,
        num_layers=len(layers),
        patch_size=2 * projection.shape[-1],
        num_stem_convs=sum(tensor.dim() == 4 for name, tensor in ours.items() if name.startswith('patch_embed.convs.')),
        pos_embed='pos_embed.weight' in ours,
        dwconv_layers=tuple(i for i in layers if f'layers.{i}.dwconv.0.weight' in ours),
        norm='LN' if 'layers.0.norm.bias' in ours else 'RMS',
        d_state=ours[f'{mixer}.scan.A_log'].shape[-1],
        expand=ours[f'{mixer}.out_proj.weight'].shape[1] / dims,
        dt_rank='auto' if rank == -(-dims // 16) else rank,
        conv_size=ours[f'{mixer}.conv.weight'].shape[-1],
        conv_bias=f'{mixer}.conv.bias' in ours,
        bias=f'{mixer}.in_proj.bias' in ours,
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    img_size=224, in_channels=3, arch=None, patch_size=16, embed_dims=192, num_layers=24, num_convs_patch_embed=1,
    with_pos_embed=True, out_indices=-1, drop_path_rate=0.0, norm_cfg=dict(type='LN', eps=1e-6), final_norm=True,
    interpolate_mode='bicubic', layer_cfgs={}, layers_with_dwconv=[], num_classes=1000,
)  # fmt: skip
SUPPORTED = dict(interpolate_mode=('bicubic',))
# They decide nothing that loaded weights could show, describe what is fixed, or are derived (`arch` from the others).
IRRELEVANT = ('arch', 'test_cfg', 'convert_syncbn', 'freeze_patch_embed', 'patch_embed')
MIXER_DEFAULTS = dict(d_state=16, expand=2, dt_rank='auto', conv_size=7, conv_bias=True, bias=False)
MIXER_IRRELEVANT = (*bidirectional.MIXER_IRRELEVANT, 'default_hw_shape')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call.

    Args:
        constructor: ``'PlainMamba'``, a backbone, or ``'ImageClassifier(PlainMamba, LinearClsHead)'``.
        kwargs: the published keyword arguments of the backbone and, for a classifier, ``num_classes``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    defaults = {name: value for name, value in PUBLISHED_DEFAULTS.items() if name != 'arch'}
    args = arguments.published_arguments('PlainMamba', kwargs, defaults, supported=SUPPORTED, irrelevant=IRRELEVANT)
    layer = arguments.published_arguments(
        'PlainMamba', args['layer_cfgs'], dict(use_rms_norm=False, mamba_cfg={}), supported={}
    )
    mixer = arguments.published_arguments(
        'PlainMamba', layer['mamba_cfg'], MIXER_DEFAULTS, supported={}, irrelevant=MIXER_IRRELEVANT
    )
    arch = dict(
        embed_dims=args['embed_dims'],
        num_layers=args['num_layers'],
        img_size=args['img_size'],
        patch_size=args['patch_size'],
        num_stem_convs=args['num_convs_patch_embed'],
        pos_embed=args['with_pos_embed'],
        dwconv_layers=tuple(args['layers_with_dwconv']),
        norm='RMS' if layer['use_rms_norm'] else 'LN',
        out_norm_eps=args['norm_cfg'].get('eps', 1e-5),
        **mixer,
    )
    out_indices = args['out_indices']
    backbone = dict(
        type='mmmamba.PlainMamba',
        arch={key: value for key, value in arch.items() if value != ARCH_DEFAULTS[key]},
        in_channels=args['in_channels'],
        drop_path_rate=args['drop_path_rate'],
        out_indices=(out_indices,) if isinstance(out_indices, int) else tuple(out_indices),
        final_norm=args['final_norm'],
    )
    if not constructor.startswith('ImageClassifier'):
        return backbone
    return arguments.classifier_config(dict(backbone, out_indices=(-1,)), args['num_classes'], arch['embed_dims'])


PLAIN_MAMBA = Family(
    name='plain_mamba',
    backbone='PlainMamba',
    stems=('patch_embed.stem.0.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
