"""Names and shapes of VMamba's mixer, patch embedding and downsampling, which the models after it share."""

from torch import Tensor

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
