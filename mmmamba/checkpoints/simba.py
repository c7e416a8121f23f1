"""SiMBA: classifiers with and without token labelling, MLP or EinFFT.

Source: the authors' names and shapes in badripatro/simba at 44865e4; no trained weights were found published.
"""

from torch import Tensor

from mmmamba.checkpoints import arguments
from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import in_order_of, rename, reverse
from mmmamba.checkpoints.numbered_stages import classifier_trunk, count_stages, is_published, with_class_block
from mmmamba.checkpoints.one_direction import MAMBA_SSM
from mmmamba.models.backbones.simba import ARCH, resolve_arch

BLOCK = (
    ('norm2.**', 'norm2.**'),
    ('attn.norm.**', 'norm1.**'),
    *((f'attn.mamba.{old}', f'mixer.{new}') for old, new in MAMBA_SSM),
    ('mlp.fc1.**', 'mlp.fc1.**'),
    ('mlp.dwconv.dwconv.**', 'mlp.conv.**'),
    ('mlp.fc2.**', 'mlp.fc2.**'),
    ('mlp.complex_weight_1', 'mlp.weight1'),
    ('mlp.complex_weight_2', 'mlp.weight2'),
    ('mlp.complex_bias_1', 'mlp.bias1'),
    ('mlp.complex_bias_2', 'mlp.bias2'),
)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict under our names.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    return rename(
        published,
        classifier_trunk(BLOCK, BLOCK, count_stages(published), 'head.weight' in published),
        'published SiMBA',
    )


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names, in their order.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    pairs = classifier_trunk(BLOCK, BLOCK, len(indices(ours, 'backbone.stages')), 'head.norm.weight' in ours)
    return in_order_of(pairs, rename(ours, reverse(pairs), 'SiMBA'))


def arch_from_shapes(ours: Weights) -> dict:
    """The keys of ``SiMBA``'s ``arch`` that show in shapes: all but the drop path rate; EinFFT has no ``mlp_ratios``.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    first = [f'backbone.stages.{i}.blocks.0' for i in stages]
    dims = [ours[f'{block}.norm1.weight'].shape[0] for block in first]
    is_einfft = f'{first[0]}.mlp.weight1' in ours
    found = dict(
        embed_dims=dims,
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        stem_dims=ours['backbone.patch_embed.convs.0.weight'].shape[0],
        channel_mixer='einfft' if is_einfft else 'mlp',
        d_state=ours[f'{first[0]}.mixer.branches.0.A_log'].shape[-1],
    )
    if not is_einfft:
        hidden = [ours[f'{block}.mlp.fc1.weight'].shape[0] for block in first]
        found['mlp_ratios'] = [width / dim for width, dim in zip(hidden, dims, strict=True)]
    return found


def describe_arch(arch: dict) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict."""
    return arguments.describe_arch(arch, ARCH, resolve_arch)


PUBLISHED_DEFAULTS = dict(
    in_chans=3, num_classes=1000, stem_hidden_dim=32, embed_dims=[64, 128, 320, 448], mlp_ratios=[8, 8, 4, 4],
    drop_path_rate=0.0, depths=[3, 4, 6, 3], num_stages=4, token_label=True, cm_type='mlp',
)  # fmt: skip
# Left over in the authors' code, or fixed.
IRRELEVANT = ('sr_ratios', 'norm_layer', 'mixer')


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the classifier of a published call.

    Args:
        constructor: ``'SiMBA'`` or one of the authors' factories.
        kwargs: the published keyword arguments; ``cm_type`` starts with ``'mlp'`` or ``'EinFFT'``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = arguments.published_arguments('SiMBA', kwargs, PUBLISHED_DEFAULTS, supported={}, irrelevant=IRRELEVANT)
    channel_mixer = args['cm_type'].split()[0].lower()
    stages = args['num_stages']
    arch = dict(
        embed_dims=list(args['embed_dims'])[:stages],
        depths=list(args['depths'])[:stages],
        mlp_ratios=list(args['mlp_ratios'])[:stages],
        stem_dims=args['stem_hidden_dim'],
        channel_mixer=channel_mixer,
    )
    class_block = dict(type='mmmamba.SiMBAClassBlock', channel_mixer=channel_mixer)
    return with_class_block(dict(type='mmmamba.SiMBA', arch=arch), class_block, args)


SIMBA = Family(
    name='simba',
    backbone='SiMBA',
    stems=('patch_embed.convs.0.weight',),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=describe_arch,
    model_config=model_config,
)
