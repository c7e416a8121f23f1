"""Names, shapes and arguments of Vim's trunk, which Mamba-R and Vim-F share: Mamba in both directions, one width."""

from mmmamba.checkpoints.arguments import indices
from mmmamba.checkpoints.family import Weights
from mmmamba.checkpoints.key_map import Pairs

LAYER: Pairs = (
    ('mixer.gamma', 'gamma'),
    ('mixer.A_log', 'mixer.branches.0.A_log'),
    ('mixer.D', 'mixer.branches.0.D'),
    ('mixer.A_b_log', 'mixer.branches.1.A_log'),
    ('mixer.D_b', 'mixer.branches.1.D'),
    ('mixer.in_proj.**', 'mixer.in_proj.**'),
    *(
        pair
        for i, suffix in enumerate(('', '_b'))
        for pair in (
            (f'mixer.conv1d{suffix}.**', f'mixer.branches.{i}.conv.**'),
            (f'mixer.x_proj{suffix}.weight', f'mixer.branches.{i}.x_proj_weight'),
            (f'mixer.dt_proj{suffix}.weight', f'mixer.branches.{i}.dt_proj_weight'),
            (f'mixer.dt_proj{suffix}.bias', f'mixer.branches.{i}.dt_proj_bias'),
        )
    ),
    ('mixer.out_proj.**', 'mixer.out_proj.**'),
    ('norm.**', 'norm.**'),
)
# The authors' `ssm_cfg`: what decides values, and what only initial ones or the way to compute them.
MIXER_IRRELEVANT = ('dt_min', 'dt_max', 'dt_init', 'dt_scale', 'dt_init_floor', 'use_fast_path')


def layer_pairs(layer: Pairs, last_layer: int, has_head: bool) -> Pairs:
    """``(published, ours)`` of all layers and of the norms behind them; ``norm_f`` is the classifier's."""
    return (
        *((f'layers.*.{old}', f'backbone.layers.*.{new}') for old, new in layer),
        *((('norm_f.**', f'backbone.out_norms.{last_layer}.**'),) if has_head else ()),
        ('outnorm_*.**', 'backbone.out_norms.*.**'),
    )


def layers_from_shapes(ours: Weights) -> dict:
    """The keys of an arch that show in the shapes of a trunk; ``ours`` is a backbone's state dict.

    Raises:
        KeyError: if a tensor that every trunk has is missing.
    """
    mixer = 'layers.0.mixer'
    dims = ours[f'{mixer}.out_proj.weight'].shape[0]
    inner, d_state = ours[f'{mixer}.branches.0.A_log'].shape
    rank = ours[f'{mixer}.branches.0.dt_proj_weight'].shape[1]
    return dict(
        embed_dims=dims,
        num_layers=len(indices(ours, 'layers')),
        norm='LN' if 'layers.0.norm.bias' in ours else 'RMS',
        d_state=d_state,
        expand=inner / dims,
        d_conv=ours[f'{mixer}.branches.0.conv.weight'].shape[-1],
        dt_rank='auto' if rank == -(-dims // 16) else rank,
        conv_bias=f'{mixer}.branches.0.conv.bias' in ours,
        bias=f'{mixer}.in_proj.bias' in ours,
    )
