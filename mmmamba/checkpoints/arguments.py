"""From the authors' constructor arguments, or from shapes, to a config of ours: what the families have in common."""

import re
from collections.abc import Callable, Iterable, Mapping

from mmmamba.checkpoints.family import Weights

# What weights in evaluation show nothing of, whichever constructor has them: dropout, memory, initial values, place.
SHOWS_NOTHING = (
    'drop_rate', 'attn_drop_rate', 'ssm_drop_rate', 'mlp_drop_rate', 'ffn_dropout', 'use_checkpoint', 'init_cfg',
    'pretrained', 'pretrained_cfg', 'device', 'dtype',
)  # fmt: skip


def published_arguments(
    model: str, kwargs: Mapping, defaults: Mapping, *, supported: Mapping[str, tuple], irrelevant: Iterable[str] = ()
) -> dict:
    """The authors' arguments, complete and checked.

    Args:
        model: its name, for the message.
        kwargs: as published.
        defaults: what the authors' constructor does where ``kwargs`` does not say; its keys are all arguments known.
        supported: for each argument that has no counterpart here, the values that need none.
        irrelevant: arguments of which loaded weights show nothing, beside ``SHOWS_NOTHING``; left out of the result.

    Returns:
        A value for each key of ``defaults``.

    Raises:
        ValueError: if an argument, or its value, has no counterpart here.
    """
    ignored = {*irrelevant, *SHOWS_NOTHING} - set(defaults)
    kwargs = {name: value for name, value in kwargs.items() if name not in ignored}
    unknown = sorted(set(kwargs) - set(defaults))
    if unknown:
        raise ValueError(f'{model}: published arguments {unknown} are not known here')
    args = {**defaults, **kwargs}
    for name, values in supported.items():
        if (args[name].lower() if isinstance(args[name], str) else args[name]) not in values:
            raise ValueError(f'{model}: published {name}={args[name]!r} is not supported; expected one of {values}')
    if args.get('num_classes', 1) < 1:
        raise ValueError(
            f'{model}: published num_classes={args["num_classes"]!r} has no last layer, which is not supported; '
            'expected 1 or more'
        )
    return args


def classifier_config(backbone: dict, num_classes: int, channels: int, **head) -> dict:
    """The config of an mmpretrain classifier: a backbone, global average pooling, one linear layer.

    Args:
        backbone: its config.
        num_classes: of the head.
        channels: of the backbone's last map.
        **head: what else the head's config says, such as another ``type``.
    """
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=backbone,
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(dict(type='mmpretrain.LinearClsHead', num_classes=num_classes, in_channels=channels), **head),
    )


def describe_arch(arch: dict, names: Iterable[str], resolve: Callable[[str], dict]) -> str:
    """An ``arch`` as one writes it in a config: its name if it has one, else the dict.

    Args:
        arch: the keys that show in shapes.
        names: of the published architectures, the preferred one first.
        resolve: from a name to the complete dict.

    Returns:
        ``"'tiny'"`` or ``"dict(depths=...)"``.
    """
    for name in names:
        known = resolve(name)
        if all(known[key] == value for key, value in arch.items()):
            return repr(name)
    return f'dict({", ".join(f"{key}={value!r}" for key, value in arch.items())})'


def indices(weights: Weights, prefix: str) -> list[int]:
    """The numbers that follow ``prefix.`` in the names, ascending."""
    pattern = re.compile(rf'{re.escape(prefix)}\.(\d+)\.')
    return sorted({int(match[1]) for match in map(pattern.match, weights) if match})
