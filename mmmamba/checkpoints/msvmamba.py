"""MSVMamba, the first release and the v3 models: classifiers and dense backbones.

Source: the authors' names and shapes in YuHengsss/MSVMamba at c394019 and in its branch v2.
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
from mmmamba.models.backbones.msvmamba import ARCH, resolve_arch

BLOCK = (
    ('norm.**', 'norm1.**'),
    *under('op', 'mixer.scan', SCAN),
    ('op.out_norm.**', 'mixer.scan.norm.**'),
    ('op.se.fc.0.**', 'mixer.scan.squeeze.fc1.**'),
    ('op.se.fc.2.**', 'mixer.scan.squeeze.fc2.**'),
    ('op.in_proj.**', 'mixer.in_proj.**'),
    ('op.conv2d.**', 'mixer.conv.**'),
    ('op.conv2d_b1.**', 'mixer.scan.downsample.**'),
    ('op.out_proj.**', 'mixer.out_proj.**'),
    ('convFFN.linear1.**', 'mlp.fc1.**'),
    ('convFFN.linear2.**', 'mlp.fc2.**'),
    ('convFFN.dwc.**', 'mlp.conv.**'),
    ('norm2.**', 'norm2.**'),
)
# Published as 1x1 convolutions, (out, in, 1, 1).
CONVOLUTIONS = ('convFFN.linear1.weight', 'convFFN.linear2.weight')


def key_map(version: str, last_stage: int | None) -> Pairs:
    """``(published, ours)`` names in the authors' order.

    Args:
        version: of the patch embedding and the downsampling: ``'v1'``, or ``'v3'`` of the later models.
        last_stage: index of the stage whose output norm is the classifier's; None for a dense backbone.
    """
    backbone = (
        *STEM['v1' if version == 'v1' else 'v2'],
        *under('layers.*.blocks.*', 'stages.*.blocks.*', BLOCK),
        *under('layers.*.downsample', 'stages.*.downsample', DOWNSAMPLE['merge' if version == 'v1' else 'conv']),
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
    version = 'v3' if 'patch_embed.5.weight' in published else 'v1'
    pairs = key_map(version, len(indices(published, 'layers')) - 1 if is_classifier else None)
    ours = with_our_shapes(rename(published, pairs, 'published MSVMamba'), 'published MSVMamba')
    return _swapped(ours) if version == 'v3' else ours


def _swapped(ours: Weights) -> dict[str, Tensor]:
    """The two parameter sets of each scan in the other order: v3 puts that of the whole map first, the others last."""
    return {
        name: w.flip(0) if name.endswith(tuple(f'.mixer.scan.{leaf}' for _, leaf in SCAN)) else w
        for name, w in ours.items()
    }


def to_published(ours: Weights) -> dict[str, Tensor]:
    """Our state dict under the authors' names and shapes, in their order.

    Args:
        ours: ``backbone.*`` and, of a classifier, ``head.fc.*``.

    Returns:
        What the authors' VSSM (with a head) or Backbone_VSSM (without) loads.

    Raises:
        CheckpointError: if a name has no place in the key map.
    """
    arch = arch_from_shapes(ours)
    pairs = key_map(arch['version'], len(arch['depths']) - 1 if 'head.fc.weight' in ours else None)
    ours = _swapped(ours) if arch['version'] == 'v3' else ours
    published = in_order_of(pairs, with_flat_states(rename(ours, reverse(pairs), 'MSVMamba')))
    if arch['version'] == 'v3':
        return published
    return {name: w[..., None, None] if name.endswith(CONVOLUTIONS) else w for name, w in published.items()}


def arch_from_shapes(ours: Weights) -> dict:
    """The ``arch`` of an MSVMamba from the shapes of its tensors.

    Raises:
        KeyError: if a tensor that it must have is missing.
    """
    stages = indices(ours, 'backbone.stages')
    blocks = [f'backbone.stages.{i}.blocks.0' for i in stages]
    dims = [ours[f'{block}.norm1.weight'].shape[0] for block in blocks]
    mixers = [f'{block}.mixer' for block in blocks]
    mixer = mixers[0]
    width = ours[f'{mixer}.out_proj.weight'].shape[1]
    is_first = 'backbone.patch_embed.conv.weight' in ours
    return dict(
        depths=[len(indices(ours, f'backbone.stages.{i}.blocks')) for i in stages],
        embed_dims=dims,
        **mixer_from_shapes(ours, mixers, dims, '.scan'),
        version='v1' if is_first else 'v3',
        gate=ours[f'{mixer}.in_proj.weight'].shape[0] == 2 * width,
        mlp_ratio=ours[f'{blocks[0]}.mlp.fc1.weight'].shape[0] / dims[0],
        squeeze=f'{mixer}.scan.squeeze.fc1.weight' in ours,
        patch_embed='v1' if is_first else 'v2',
        patch_size=ours['backbone.patch_embed.conv.weight'].shape[-1] if is_first else 4,
        downsample='v1' if is_first else 'v3',
    )


# What the authors' constructor does where a case does not say.
PUBLISHED_DEFAULTS = dict(
    patch_size=4, in_chans=3, num_classes=1000, depths=[1, 2, 9, 2], dims=[96, 192, 384, 768], ssm_d_state=1,
    ssm_ratio=2.0, ssm_dt_rank='auto', ssm_act_layer='silu', ssm_conv=3, ssm_conv_bias=True,
    mlp_ratio=0.0, mlp_act_layer='gelu', drop_path_rate=0.1, patch_norm=True,
    downsample_version='v1', patchembed_version='v1', out_indices=None, recurrent=False,
    sscore_type='multiscale_4scan_12', inter_block_ssm=False, grid_size=0, continous_patch=False, adaptive_merge=False,
    add_conv=True, b1_seq=False, b1_ratio=0.5, add_se=True, ms_fusion=None, up_sample='interpolate', convFFN=True,
    lpu=False, sep_norm=False, ms_stage=[0, 1, 2, 3], ms_split=[1, 3], forward_type='v2', full_res_index=1,
)  # fmt: skip
# The values that MSVMamba builds; every released model keeps to them.
SUPPORTED = dict(
    ssm_act_layer=('silu',), ssm_conv=(3,), mlp_act_layer=('gelu',), patch_norm=(True,), recurrent=(False,),
    sscore_type=('multiscale_4scan_12',), inter_block_ssm=(False,), grid_size=(0,), continous_patch=(False,),
    adaptive_merge=(False,), add_conv=(True,), b1_seq=(False,), b1_ratio=(0.5,), ms_fusion=(None,),
    up_sample=('interpolate', 'convtranspose'), convFFN=(True,), lpu=(False,), sep_norm=(False,),
    ms_stage=([0, 1, 2, 3],), ms_split=([1, 3],), full_res_index=(1,),
)  # fmt: skip
# They decide initial values or speed, or are read by other kinds of scan only.
IRRELEVANT = (
    *('ssm_rank_ratio', 'ssm_simple_init', 'ssm_init', 'norm_layer', 'multiscale_ratio', 'multiscale_ksize'),
    *('gmlp', 'posembed', 'imgsize'),
)


def model_config(constructor: str, kwargs: dict) -> dict:
    """The config that builds the model of a published call.

    The models of branch v2 ("v3") are told by their patch embedding v2 and downsampling v3. They look at ``mlp_ratio``
    and at the ``_noz`` of ``forward_type``, which the first release does not.

    Args:
        constructor: ``'VSSM(...)'`` (an mmpretrain classifier here) or ``'Backbone_VSSM(...)'`` (a backbone).
        kwargs: the published keyword arguments.

    Returns:
        A dict for ``MODELS.build``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    args = published_arguments('MSVMamba', kwargs, PUBLISHED_DEFAULTS, supported=SUPPORTED, irrelevant=IRRELEVANT)
    versions = args['patchembed_version'], args['downsample_version']
    arch = dict(mixer_from_arguments(args), squeeze=args['add_se'], patch_size=args['patch_size'])
    if versions == ('v2', 'v3'):
        arch.update(
            version='v3', patch_embed='v2', downsample='v3', gate=is_gated('MSVMamba', args['forward_type']),
            mlp_ratio=args['mlp_ratio'] or 4.0,
        )  # fmt: skip
    elif versions != ('v1', 'v1') or args['mlp_ratio']:
        raise ValueError(
            f'MSVMamba: published patchembed_version, downsample_version={versions} with mlp_ratio={args["mlp_ratio"]} '
            "are not supported; expected 'v1' and 'v1' with 0, or 'v2' and 'v3'"
        )
    return vssm_config(constructor, dict(type='mmmamba.MSVMamba', arch=arch), args)


MSVMAMBA = Family(
    name='msvmamba',
    backbone='MSVMamba',
    stems=('patch_embed.conv.weight', 'patch_embed.conv1.weight'),
    is_published=is_published,
    to_ours=to_ours,
    to_published=to_published,
    arch_from_shapes=arch_from_shapes,
    describe_arch=partial(describe_arch, names=ARCH, resolve=resolve_arch),
    model_config=model_config,
)
