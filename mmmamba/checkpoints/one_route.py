"""Scans of one parameter set: our tensors have a leading axis of routes, the authors' files do not."""

from torch import Tensor

from mmmamba.checkpoints.family import Weights

LEAVES = ('x_proj_weight', 'dt_proj_weight', 'dt_proj_bias', 'A_log', 'D')
# (published, ours) below a mixer, in the order of Mamba's own module.
STATE_SPACE = (
    ('A_log', 'A_log'),
    ('D', 'D'),
)
PROJECTIONS = (
    ('x_proj.weight', 'x_proj_weight'),
    ('dt_proj.weight', 'dt_proj_weight'),
    ('dt_proj.bias', 'dt_proj_bias'),
)


def with_route_axis(ours: Weights) -> dict[str, Tensor]:
    """Tensors under our names, as read from a file, in our shapes."""
    return {name: tensor[None] if _is_of_a_scan(name) else tensor for name, tensor in ours.items()}


def without_route_axis(ours: Weights) -> dict[str, Tensor]:
    """The reverse."""
    return {name: tensor[0] if _is_of_a_scan(name) else tensor for name, tensor in ours.items()}


def _is_of_a_scan(name: str) -> bool:
    return name.rpartition('.')[2] in LEAVES
