"""VMamba, every release: the v0 files of January 2024 to the s1l8 and s2l15 ones, classifiers and dense backbones.

Source: the authors' names and shapes in MzeroMiko/VMamba at 2ed52ea.
"""

from functools import partial

from torch import Tensor

from mmmamba.checkpoints.arguments import describe_arch, indices, published_arguments
from mmmamba.checkpoints.family import Family, Weights
from mmmamba.checkpoints.key_map import Pairs, in_order_of, rename, reverse
from mmmamba.checkpoints.ss2d import (
    DOWNSAMPLE,
    SCAN,
    STEM,
    is_gated,
    is_published,
    mixer_from_arguments,
    mixer_from_shapes,
    under,
    vssm_config,
    whole_model,
    with_flat_states,
    with_our_shapes,
)
from mmmamba.models.backbones.vmamba import ARCH, resolve_arch

MIXER = (
    *(SCAN[i] for i in (0, 3, 4, 1, 2)),  # the authors' order
    ('out_norm.**', 'out_norm.**'),
    ('in_proj.**', 'in_proj.**'),
    ('conv2d.**', 'conv.**'),
    ('out_proj.**', 'out_proj.**'),
)
MIXER_V0 = (*MIXER[:5], *MIXER[6:8], MIXER[5], MIXER[8])  # the same names; v0 registers out_norm later
# Names that older and newer files use for the same tensors; read, never written.
ALIASES = (
    ('patch_embed.proj.**', 'patch_embed.conv.**'),
    ('patch_embed.norm.**', 'patch_embed.norm.**'),
    ('layers.*.blocks.*.ln_1.**', 'stages.*.blocks.*.norm1.**'),
    ('layers.*.blocks.*.op.x_proj.weight', 'stages.*.blocks.*.mixer.x_proj_weight'),
    ('layers.*.blocks.*.op.dt_projs.weight', 'stages.*.blocks.*.mixer.dt_proj_weight'),
    *((f'layers.*.blocks.*.self_attention.{old}', f'stages.*.blocks.*.mixer.{new}') for old, new in MIXER),
)


def key_map(stem: str, downsample: str, mixer: Pairs, last_stage: int | None) -> Pairs:
    """``(published, ours)`` names of one release, in the authors' order.

    Args:
        stem: ``'v1'`` or ``'v2'``.
        downsample: ``'merge'`` (v1) or ``'conv'`` (v2, v3).
        mixer: ``MIXER`` or, for the order of the v0 files, ``MIXER_V0``.
        last_stage: index of the stage whose output norm is the classifier's; None for a dense backbone.

    Returns:
        Pairs for ``rename``; ours are names of a whole model.
    """
    block = 'layers.*.blocks.*', 'stages.*.blocks.*'
    backbone = (
        *STEM[stem],
        (f'{block[0]}.norm.**', f'{block[1]}.norm1.**'),
        *under(f'{block[0]}.op', f'{block[1]}.mixer', mixer),
        (f'{block[0]}.norm2.**', f'{block[1]}.norm2.**'),
        (f'{block[0]}.mlp.**', f'{block[1]}.mlp.**'),
        *under('layers.*.downsample', 'stages.*.downsample', DOWNSAMPLE[downsample]),
    )
    return whole_model(backbone, last_stage)


def to_ours(published: Weights) -> dict[str, Tensor]:
    """The authors' state dict, of any release, under our names and shapes.

    Args:
        published: a classifier (``classifier.*``, in the oldest files ``norm`` and ``head``) or a dense backbone
            (``outnorm*``).

    Returns:
        ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Raises:
        CheckpointError: if a name has no place in the key map, or tensors are missing.
    """
    last_stage = len(indices(published, 'layers')) - 1
    is_classifier = any(name.startswith(('classifier.', 'head.')) for name in published)
    pairs = key_map(
        stem='v2' if 'patch_embed.5.weight' in published else 'v1',
        downsample='merge' if any('.downsample.reduction.' in name for name in published) else 'conv',
        mixer=MIXER,
        last_stage=last_stage if is_classifier else None,
    )
    aliases = [(old, f'backbone.{new}') for old, new in (*ALIASES, ('norm.**', f'out_norms.{last_stage}.**'))]
    ours = rename(published, (*pairs, *aliases, ('head.**', 'head.fc.**')), 'published VMamba')
    return with_our_shapes(ours, 'published VMamba')


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' current names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Returns:
        What the authors' VSSM (with a head) or Backbone_VSSM (without) loads.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    stages = indices(ours, 'backbone.stages')
    pairs = key_map(
        stem='v2' if 'backbone.patch_embed.conv2.weight' in ours else 'v1',
        downsample='merge' if any('.downsample.reduction.' in name for name in ours) else 'conv',
        mixer=MIXER_V0 if arch_from_shapes(ours)['gate'] else MIXER,
        last_stage=len(stages) - 1 if 'head.fc.weight' in ours else None,
    )
    published = rename(ours, reverse(pairs), 'VMamba')
    return in_order_of(pairs, with_flat_states(published))


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of a VMamba from the shapes of its tensors.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    first = 'backbone.stages.0.blocks.0'
    dims = [ours[f'backbone.stages.{i}.blocks.0.norm1.weight'].shape[0] for i in stages]
    mixers = [f'backbone.stages.{i}.blocks.0.mixer' for i in stages]
    width = ours[f'{first}.mixer.out_proj.weight'].shape[1]
    has_mlp = f'{first}.mlp.fc1.weight' in ours
    return dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=dims,
        **mixer_from_shapes(ours, mixers, dims),
        gate=ours[f'{first}.mixer.in_proj.weight'].shape[0] == 2 * width,
        mlp_ratio=ours[f'{first}.mlp.fc1.weight'].shape[0] / dims[0] if has_mlp else 0.0,
        patch_embed='v2' if 'backbone.patch_embed.conv2.weight' in ours else 'v1',
        downsample=_downsample_version(ours),
    )


def _downsample_version(ours: Weights) -> str:
    if 'backbone.stages.0.downsample.reduction.weight' in ours:
        return 'v1'
    return {2: 'v2', 3: 'v3'}[ours['backbone.stages.0.downsample.conv.weight'].shape[-1]]


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    patch_size=4, in_chans=3, num_classes=1000, depths=[2, 2, 9, 2], dims=[96, 192, 384, 768], ssm_d_state=16,
    ssm_ratio=2.0, ssm_dt_rank='auto', ssm_act_layer='silu', ssm_conv=3, ssm_conv_bias=True,
    forward_type='v2', mlp_ratio=4.0, mlp_act_layer='gelu', gmlp=False, drop_path_rate=0.1,
    patch_norm=True, norm_layer='ln', downsample_version='v2', patchembed_version='v1', posembed=False,
    out_indices=None,
)  # fmt: skip
# The values that VMamba builds; every released model keeps to them.
SUPPORTED = dict(
    ssm_act_layer=('silu',), ssm_conv=(3,), mlp_act_layer=('gelu',), gmlp=(False,), patch_norm=(True,),
    norm_layer=('ln', 'ln2d'), downsample_version=('v1', 'v2', 'v3'), patchembed_version=('v1', 'v2'),
    posembed=(False,),
)  # fmt: skip
# Of initial values, and of the position embedding that is off.
IRRELEVANT = ('ssm_init', 'imgsize')


def arch_from_published_kwargs(kwargs: dict) -> dict:
    """Our ``arch`` for the authors' constructor arguments.

    Args:
        kwargs: keyword arguments of ``VSSM`` or ``Backbone_VSSM``; what is left out takes the authors' default.

    Returns:
        The ``arch`` dict of ``VMamba``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments('VMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT)
    return dict(
        mixer_from_arguments(args),
        conv_bias=args['ssm_conv_bias'] or args['forward_type'] in ('v0', 'v0seq'),  # v0 does not look at it
        gate=is_gated('VMamba', args['forward_type']),
        mlp_ratio=args['mlp_ratio'],
        patch_embed=args['patchembed_version'],
        patch_size=args['patch_size'],
        downsample=args['downsample_version'],
    )


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call.

    Args:
        constructor: ``'VSSM(...)'`` (an mmpretrain classifier here) or ``'Backbone_VSSM(...)'`` (a backbone).
        kwargs: the published keyword arguments.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    arch = arch_from_published_kwargs(kwargs)
    args = {**PUBLISHED_DEFAULTS, **kwargs}
    return vssm_config(constructor, dict(type='mmmamba.VMamba', arch=arch), args)


VMAMBA = Family(
    name='vmamba',
    backbone='VMamba',
    stems=('patch_embed.conv.weight', 'patch_embed.conv1.weight'),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
)
