"""Names, shapes and arguments of VMamba's mixer, patch embedding and downsampling, which the models after it share."""

import math
import re
from collections.abc import Mapping, Sequence

from torch import Tensor

from mmmamba.checkpoints.arguments import classifier_config
from mmmamba.checkpoints.family import Weights
from mmmamba.checkpoints.files import CheckpointError
from mmmamba.checkpoints.key_map import Pairs

SCAN = (
    ('x_proj_weight', 'x_proj_weight'),
    ('dt_projs_weight', 'dt_proj_weight'),
    ('dt_projs_bias', 'dt_proj_bias'),
    ('A_logs', 'A_log'),
    ('Ds', 'D'),
)
STEM = {
    'v1': (('patch_embed.0.**', 'patch_embed.conv.**'), ('patch_embed.2.**', 'patch_embed.norm.**')),
    'v2': (
        ('patch_embed.0.**', 'patch_embed.conv1.**'),
        ('patch_embed.2.**', 'patch_embed.norm1.**'),
        ('patch_embed.5.**', 'patch_embed.conv2.**'),
        ('patch_embed.7.**', 'patch_embed.norm2.**'),
    ),
}
DOWNSAMPLE = {
    'merge': (('reduction.**', 'reduction.**'), ('norm.**', 'norm.**')),
    'conv': (('1.**', 'conv.**'), ('3.**', 'norm.**')),
}
POINTWISE = ('_proj.weight', 'fc1.weight', 'fc2.weight', 'fc.weight', 'reduction.weight')  # of linear layers


def under(published: str, ours: str, pairs: Pairs) -> Pairs:
    """The pairs of a module at ``published`` in their layout and at ``ours`` in ours."""
    return tuple((f'{published}.{old}', f'{ours}.{new}') for old, new in pairs)


def whole_model(backbone: Pairs, last_stage: int | None) -> Pairs:
    """The pairs of a backbone, its output norms and head, of a whole model in our layout.

    Args:
        backbone: pairs without them.
        last_stage: the stage whose output norm is the classifier's; None for a dense backbone.
    """
    norm = ('outnorm*.**', 'out_norms.*.**')
    head = ()
    if last_stage is not None:
        norm = ('classifier.norm.**', f'out_norms.{last_stage}.**')
        head = (('classifier.head.**', 'head.fc.**'),)
    return (*((old, f'backbone.{new}') for old, new in (*backbone, norm)), *head)


def is_published(names) -> bool:
    """Whether a backbone's tensors carry the authors' names."""
    return any(name.startswith('layers.') for name in names)


def with_our_shapes(weights: Weights, what: str) -> dict[str, Tensor]:
    """Tensors under our names in our shapes; the files hold some of them flat, or as 1x1 convolutions.

    Args:
        weights: under our names.
        what: whose they are, for messages.

    Raises:
        CheckpointError: if a tensor that tells the shape of others is missing, or one does not fit them.
    """
    try:
        return {name: _our_shape(name, weights, what) for name in weights}
    except KeyError as error:
        raise CheckpointError(f'{what}: the file is incomplete, {error.args[0]!r} is missing') from None


def with_flat_states(weights: Weights) -> dict[str, Tensor]:
    """Tensors under the authors' names with ``A_logs`` and ``Ds`` flat, as the files hold them."""
    flat = ('.A_logs', '.Ds')
    return {name: w.flatten(0, 1) if name.endswith(flat) else w for name, w in weights.items()}  # (K, E, N) -> (K*E, N)


def _our_shape(name: str, weights: Weights, what: str) -> Tensor:
    tensor = weights[name]
    prefix, _, leaf = name.rpartition('.')
    if leaf in ('x_proj_weight', 'dt_proj_weight', 'A_log', 'D'):
        mixer = prefix.removesuffix('.scan')  # where the scan merges its routes in its own way
        width = weights[f'{mixer}.out_proj.weight'].shape[1]
        routes = weights[f'{prefix}.D'].numel() // width
        shape = {'x_proj_weight': (routes, -1, width), 'D': (routes, width)}.get(leaf, (routes, width, -1))
        try:
            return tensor.reshape(shape)
        except RuntimeError:
            raise CheckpointError(
                f'{what}: {name} of shape {tuple(tensor.shape)} does not fit the {routes} routes of width {width} that '
                'its block has elsewhere; the file is damaged: fetch it again'
            ) from None
    return tensor.flatten(1) if name.endswith(POINTWISE) else tensor  # (out, in, 1, 1) -> (out, in)


def mixer_from_shapes(ours: Weights, mixers: Sequence[str], dims: Sequence[int], scan: str = '') -> dict:
    """The keys of an arch that a mixer's shapes tell.

    Args:
        ours: a state dict under our names.
        mixers: name of the first mixer of each stage.
        dims: width that each of them works on.
        scan: ``'.scan'`` where the parameters of the scan lie in a module of their own.

    Raises:
        KeyError: if a tensor that a mixer must have is missing.
    """
    ranks = [ours[f'{mixer}{scan}.dt_proj_weight'].shape[2] for mixer in mixers]
    first = mixers[0]
    return dict(
        d_state=ours[f'{first}{scan}.A_log'].shape[2],
        ssm_ratio=ours[f'{first}.out_proj.weight'].shape[1] / dims[0],
        dt_rank='auto' if ranks == [math.ceil(dim / 16) for dim in dims] else ranks[0],
        conv_bias=f'{first}.conv.bias' in ours,
    )


def stage_widths(dims: int | Sequence[int], stages: int) -> list[int]:
    """The published ``dims``: one for each stage, or the first, from which they double."""
    return [dims * 2**i for i in range(stages)] if isinstance(dims, int) else list(dims)


def mixer_from_arguments(args: Mapping) -> dict:
    """The keys of an arch that the authors' constructors of VMamba and its heirs have in common."""
    return dict(
        depths=list(args['depths']),
        embed_dims=stage_widths(args['dims'], len(args['depths'])),
        d_state=args['ssm_d_state'],
        ssm_ratio=args['ssm_ratio'],
        dt_rank=args['ssm_dt_rank'],
        conv_bias=args['ssm_conv_bias'],
    )


def is_gated(model: str, forward_type: str) -> bool:
    """v0 always has the gate; v01 to v4 are implementations of one function, gated unless the name says ``_noz``.

    Args:
        model: its name, for the message.
        forward_type: as published.

    Raises:
        ValueError: if it is another function.
    """
    if not re.fullmatch(r'v0(seq)?|v(01|02|03|04|05|1|2|3|4)(_no32|_noz)*', forward_type):
        raise ValueError(
            f'{model}: published forward_type={forward_type!r} is not supported; '
            "expected 'v0', or 'v01' to 'v05', 'v2', 'v3', with or without '_noz'"
        )
    return '_noz' not in forward_type


def vssm_config(constructor: str, backbone: dict, args: Mapping) -> dict:
    """The config of a published call: an mmpretrain classifier, or of ``'Backbone_...'`` a backbone with all its maps.

    Args:
        constructor: the authors'.
        backbone: type, arch and what else is not the same in all families.
        args: the authors' arguments, complete.
    """
    last = len(backbone['arch']['depths']) - 1
    backbone = dict(
        backbone,
        in_channels=args['in_chans'],
        drop_path_rate=args['drop_path_rate'],
        out_indices=tuple(args['out_indices'] or range(last + 1)),
    )
    if constructor.startswith('Backbone_'):
        return backbone
    channels = backbone['arch']['embed_dims'][last]
    return classifier_config(dict(backbone, out_indices=(last,)), args['num_classes'], channels)
