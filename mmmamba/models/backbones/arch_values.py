"""What the numbers of an architecture have to be, whatever the backbone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real


@dataclass(frozen=True)
class Kind:
    """What a value of an arch has to be: each number of it, where it has one for every stage or side.

    Args:
        name: for messages.
        type: of numbers.
        least: the smallest, or
        above: what it must exceed.
        auto: whether ``'auto'`` will do.
    """

    name: str
    type: type
    least: float = -math.inf
    above: float = -math.inf
    auto: bool = False

    def accepts(self, value: object) -> bool:
        """Whether the value is of this kind."""
        if isinstance(value, Sequence) and not isinstance(value, str):
            return len(value) > 0 and all(map(self.accepts, value))
        if self.auto and value == 'auto':
            return True
        is_number = isinstance(value, self.type) and not isinstance(value, bool)
        return is_number and value >= self.least and value > self.above


COUNTED = (
    'embed_dims', 'depths', 'num_layers', 'stem_dims', 'num_heads', 'window_sizes', 'd_state', 'd_conv', 'conv_size',
    'patch_size', 'patch_stride', 'patch_frames', 'stride', 'img_size', 'num_frames', 'grid',
)  # fmt: skip
# Of the values that an arch may have, whatever the backbone.
KINDS = {
    **dict.fromkeys(COUNTED, Kind('a positive integer', Integral, least=1)),
    **dict.fromkeys(('inner_dims', 'frequency_layers', 'num_stem_convs'), Kind('an integer from 0', Integral, least=0)),
    **dict.fromkeys(('ssm_ratio', 'expand', 'mlp_ratios'), Kind('a positive number', Real, above=0)),
    **dict.fromkeys(('mlp_ratio', 'norm_eps', 'out_norm_eps'), Kind('a number from 0', Real, least=0)),
    'dt_rank': Kind("a positive integer or 'auto'", Integral, least=1, auto=True),
}


def check_values(arch: Mapping) -> None:
    """Refuse numbers that no backbone can be built from.

    Args:
        arch: complete; keys that are not in ``KINDS`` are not looked at.

    Raises:
        ValueError: if a value, or a number of it, is not of its kind.
    """
    for key, value in arch.items():
        if key in KINDS and not KINDS[key].accepts(value):
            raise ValueError(f'arch: {key} {value!r} must be {KINDS[key].name}')
