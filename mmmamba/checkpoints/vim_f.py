"""Vim-F: the released classifiers.

Source: the authors' names and shapes in yws-wxs/Vim-F at 4440225.
"""

from torch import Tensor

from mmmamba.checkpoints import arguments, vim
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.bidirectional import LAYER, layer_pairs, layers_from_shapes
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.whole_model import split_backbone
from mmmamba.models.backbones.vim_f import ARCH, ARCH_DEFAULTS, resolve_arch

STEM = 'patch_embed.cnn_downsample_layers'
# The norm of the first layers stands with the mixing of frequencies in one sequence.
FREQUENCY_LAYER = (
    ('stack', 'norm.1.scales'),
    *LAYER[:-1],
    ('norm.**', 'norm.0.**'),
    ('mlp.**', 'norm.1.proj.**'),
)


def key_map(layers: int, frequency_layers: int, has_head: bool) -> Pairs:
    """``(published, ours)`` names of a whole model in the authors' order."""
    return (
        ('cls_token', 'backbone.cls_tokens.weight'),
        (f'{STEM}.0.0.**', 'backbone.patch_embed.conv.**'),
        (f'{STEM}.0.1.**', 'backbone.patch_embed.norm.**'),
        *(
            (f'{STEM}.{i + 1}.{j}.**', f'backbone.patch_embed.steps.{i}.{part}.**')
            for i in range(2)
            for j, part in enumerate(('conv', 'norm', 'proj'))
        ),
        ('head.**', 'head.fc.**'),
        *(
            (f'layers.{i}.{old}', f'backbone.layers.{i}.{new}')
            for i in range(layers)
            for old, new in (FREQUENCY_LAYER if i < frequency_layers else LAYER)
        ),
        *layer_pairs((), layers - 1, has_head),
    )


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    mixing = sum(name.endswith('.stack') for name in published)
    pairs = key_map(len(indices(published, 'layers')), mixing, has_head=True)
    return rename(vim.with_joined_ends(published), pairs, 'published Vim-F')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    mixing = sum(name.endswith('.norm.1.scales') for name in ours)
    pairs = key_map(len(indices(ours, 'backbone.layers')), mixing, 'head.fc.weight' in ours)
    return vim.with_separate_ends(in_order_of(pairs, rename(ours, reverse(pairs), 'Vim-F')))


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``VimF``'s ``arch`` that show in shapes.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    backbone = split_backbone(ours)[0]
    mixing = sum(name.endswith('.norm.1.scales') for name in backbone)
    is_layer_norm = 'layers.0.norm.bias' in backbone or 'layers.0.norm.0.bias' in backbone
    return dict(
        layers_from_shapes(backbone),
        norm='LN' if is_layer_norm else 'RMS',
        frequency_layers=mixing,
        bidirectional='layers.0.mixer.branches.1.D' in backbone,
    )


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'VisionMamba'`` or one of the released sizes' names.
        kwargs: the published keyword arguments; the patch size is not looked at.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = vim.published_arguments('Vim-F', kwargs)
    for name in ('if_abs_pos_embed', 'if_rope'):
        if args[name]:
            raise ValueError(f'Vim-F: published {name}=True is not supported; it has no position embedding')
    arch = dict(vim.trunk_arch('Vim-F', args), stride=args['stride'])
    return vim.classifier_config('VimF', {k: v for k, v in arch.items() if v != ARCH_DEFAULTS[k]}, args)


VIM_F = Family(
    name='vim_f',
    backbone='VimF',
    stems=('patch_embed.conv.weight',),
    is_published=vim.is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
