"""The Mamba mixer of one direction: names in ``mamba_ssm`` and, in another order, in ``transformers``."""

from mmmamba.checkpoints.key_map import Pairs

_STATE = (('A_log', 'branches.0.A_log'), ('D', 'branches.0.D'))
_IN_PROJ = (('in_proj.**', 'in_proj.**'),)
_CONV = (('conv1d.**', 'branches.0.conv.**'),)
_REST = (
    ('x_proj.weight', 'branches.0.x_proj_weight'),
    ('dt_proj.weight', 'branches.0.dt_proj_weight'),
    ('dt_proj.bias', 'branches.0.dt_proj_bias'),
    ('out_proj.**', 'out_proj.**'),
)
MAMBA_SSM: Pairs = (*_STATE, *_IN_PROJ, *_CONV, *_REST)
TRANSFORMERS: Pairs = (*_STATE, *_CONV, *_IN_PROJ, *_REST)
