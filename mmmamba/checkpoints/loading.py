"""Weights into a model and out of it: the authors' layout or ours, complete or an error.

A whole model (classifier, detector, segmentor) takes exactly its own tensors. A backbone takes those of any model that
was built around one like it, with four allowances, each named in the report:

- what belongs to the other model (heads, necks) is dropped;
- output norms depend on ``out_indices``: those the backbone has no use for are dropped, and if the checkpoint lacks
  one, as a classifier does for a dense backbone, all of them start fresh;
- where the number of input channels differs, the stem's filters are summed for one channel, else repeated over the
  channels and scaled by old / new, which keeps the size of the response;
- a backbone of clips takes the weights of its form for images: ``inflation.py`` says how.

In both, position embeddings of another square grid are resized, those of extra tokens excepted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from mmmamba.checkpoints.families import FAMILIES, backbone_of, family_of, image_family_of
from mmmamba.checkpoints.family import Family
from mmmamba.checkpoints.files import CheckpointError, load_file, unwrap
from mmmamba.checkpoints.inflation import inflate
from mmmamba.checkpoints.key_map import shortened
from mmmamba.checkpoints.whole_model import backbone_prefixed, split_backbone
from mmmamba.layers import PositionEmbed, RotaryEmbed


@dataclass
class LoadReport:
    """What a load did, by our names.

    Args:
        matched: tensors that were loaded.
        missing: tensors of the model that the checkpoint does not hold and that keep their fresh values.
        unexpected: tensors of the checkpoint that the model has no use for.
        adapted: loaded tensors that had to be changed to fit, with the change.
    """

    matched: list[str]
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    adapted: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = [f'{len(self.matched)} tensors loaded']
        if self.missing:
            parts.append(f'{len(self.missing)} left fresh ({shortened(self.missing)})')
        if self.unexpected:
            parts.append(f'{len(self.unexpected)} of the checkpoint not used ({shortened(self.unexpected)})')
        parts += [f'{name} {change}' for name, change in self.adapted.items()]
        return '; '.join(parts)


def load_weights(model: nn.Module, source: str | Path | Mapping, *, ema: bool = False) -> LoadReport:
    """Load a checkpoint, in the authors' layout or ours, into a model.

    Args:
        model: a backbone of ours, or an mmpretrain, mmdet or mmseg model around one. For a backbone without a key map
            only its own layout is known.
        source: path or address of a checkpoint, or what it holds.
        ema: take the moving average that stands beside the weights.

    Returns:
        What was loaded and, for a backbone, what was left fresh or not used; a whole model has nothing to leave.

    Raises:
        CheckpointError: if the file cannot be read, or its tensors do not fit the model.
    """
    if isinstance(source, Mapping):
        weights, report = fit_weights(model, source, 'the state dict', ema=ema)
    else:
        weights, report = fit_weights(model, load_file(source), f'checkpoint {str(source)!r}', ema=ema)
    model.load_state_dict(weights, strict=True)
    return report


def fit_weights(
    model: nn.Module, checkpoint: Mapping, origin: str, *, ema: bool = False
) -> tuple[dict[str, Tensor], LoadReport]:
    """The weights of a checkpoint as a model would load them.

    Args:
        model: as for ``load_weights``.
        checkpoint: what a file holds.
        origin: what to call it in the message, ``"checkpoint 'epoch_12.pth'"``.
        ema: take the moving average that stands beside the weights.

    Returns:
        A value for each name of the model's state dict, and where they came from.

    Raises:
        CheckpointError: if the tensors do not fit the model.
    """
    weights = _whole_model_names(unwrap(checkpoint, ema=ema), model)
    own = model.state_dict()
    report = LoadReport(matched=[])
    if backbone_of(model) is model:
        family = family_of(model) or image_family_of(model)
        stems = family.stems if family else ()
        weights = _for_backbone(weights, own, stems, report)
        if image_family_of(model):
            inflate(model, stems, weights, report.adapted)
    _fit_positions(model, weights, report)
    _check_fit(model, origin, own, weights, report)
    report.matched = [name for name in own if name in weights]
    return {**own, **weights}, report


def export(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model as its authors publish them.

    Args:
        model: a backbone, or a classifier around one.

    Returns:
        Names, shapes and order of the authors' state dict.

    Raises:
        CheckpointError: if the model is of no family with a key map, or holds tensors the authors' model has not.
    """
    return published_names(model, model.state_dict())


def published_names(model: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors that belong to a model's parameters, its gradients say, under the authors' names.

    Args:
        model: a backbone, or a classifier around one.
        tensors: one for each name of the model's state dict.

    Returns:
        Names, shapes and order of the authors' state dict.

    Raises:
        CheckpointError: if the model is of no family with a key map, or a name has no place in it.
    """
    family = family_of(model)
    if family is None:
        known = [family.backbone for family in FAMILIES]
        raise CheckpointError(f'no key map for a {type(backbone_of(model)).__name__}; there are maps for {known}')
    return family.to_published(backbone_prefixed(tensors) if backbone_of(model) is model else tensors)


def _whole_model_names(weights: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Our names of a whole model (``backbone.*``, ``head.*`` ...), from any of the layouts a checkpoint may have."""
    if any(name.startswith('backbone.') for name in weights):
        inside, around = split_backbone(weights)
    else:
        inside, around = weights, {}
    family = family_of(model)
    if family and family.is_published(inside):
        return {**family.read(inside), **around}
    images = image_family_of(model)
    if images and images.is_published(inside):
        if any(tensor.dim() == 5 for tensor in inside.values()):
            raise CheckpointError(
                f'these are weights of clips under names like those of the authors of {images.backbone}, whose layout '
                'for clips has not been checked here; weights of the form for images are taken, and our own'
            )
        return {**images.read(inside), **around}
    return {**backbone_prefixed(inside), **around}


def _for_backbone(
    weights: dict[str, Tensor], own: Mapping[str, Tensor], stems: Sequence[str], report: LoadReport
) -> dict[str, Tensor]:
    """Take the backbone's share of a whole model, making the allowances that the head of this file lists."""
    mine, around = split_backbone(weights)
    report.unexpected += around
    norms = {name for name in own if name.startswith('out_norms.')}
    if not norms <= set(mine):
        report.missing += sorted(norms)
    usable = set() if report.missing else norms
    unusable = [name for name in mine if name.startswith('out_norms.') and name not in usable]
    report.unexpected += unusable
    mine = {name: tensor for name, tensor in mine.items() if name not in unusable}
    for name in stems:
        if name in mine and name in own and mine[name].shape[1] != own[name].shape[1]:
            mine[name] = _with_channels(mine[name], own[name].shape[1])
            report.adapted[name] = f'made for {own[name].shape[1]} input channels'
    return mine


def _fit_positions(model: nn.Module, weights: dict[str, Tensor], report: LoadReport) -> None:
    """Bring position embeddings to the grid that the model is built for, in ``weights``."""
    for prefix, module in model.named_modules():
        for leaf, own in module.state_dict().items() if isinstance(module, PositionEmbed | RotaryEmbed) else ():
            name = f'{prefix}.{leaf}'
            if name in weights and weights[name].shape != own.shape:
                fitted = module.fitted(leaf, weights[name])
                if fitted.shape == own.shape:
                    rows, cols = module.grid
                    report.adapted[name] = f'made for a grid of {rows}x{cols}'
                weights[name] = fitted


def _with_channels(weight: Tensor, channels: int) -> Tensor:
    """A stem's filters for another number of input channels, (out, old, k, k) -> (out, channels, k, k)."""
    old = weight.shape[1]
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight[:, torch.arange(channels) % old] * (old / channels)


def _check_fit(
    model: nn.Module, origin: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor], report: LoadReport
) -> None:
    missing = [name for name in own if name not in weights and name not in report.missing]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f'{name} {tuple(weights[name].shape)} instead of {tuple(own[name].shape)}'
        for name in own
        if _reshaped(name, own, weights)
    ]
    found = (('missing', missing), ('not expected', unexpected), ('of another shape', reshaped))
    differences = [f'{len(names)} are {what} ({shortened(names, 3)})' for what, names in found if names]
    if differences:
        apart = {*missing, *unexpected, *(name for name in own if _reshaped(name, own, weights))}
        raise CheckpointError(
            f'{origin} does not fit this {type(model).__name__} of {len(own)} tensors: {"; ".join(differences)}.'
            f'{_advice(model, own, weights, apart)}'
        )


def _reshaped(name: str, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> bool:
    return name in weights and weights[name].shape != own[name].shape


def _allowed_apart(own: Mapping[str, Tensor], weights: Mapping[str, Tensor], family: Family | None) -> set[str]:
    """Names of a whole model in which its backbone alone may differ: output norms, and the channels of the stem."""
    norms = {name for name in (*own, *weights) if name.startswith('backbone.out_norms.')}
    stems = {f'backbone.{stem}' for stem in (family.stems if family else ())}
    return norms | stems


def _advice(model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor], apart: set[str]) -> str:
    """What to do about a checkpoint that does not fit, as far as names and shapes tell."""
    family = family_of(model)
    is_backbone = backbone_of(model) is model
    if family:
        there, here = (backbone_prefixed(w) if is_backbone else w for w in (weights, own))
        try:
            held = family.infer_arch(there)
        except CheckpointError:
            return f' It holds no {family.backbone}.'
        built = family.infer_arch(here)
        if held != built:
            return (
                f' It holds a {family.backbone} {family.describe_arch(held)}, '
                f'the config builds {family.describe_arch(built)}: set arch={family.describe_arch(held)}.'
            )
    positions = [name for name in own if name.endswith('pos_embed.weight') and _reshaped(name, own, weights)]
    if image_family_of(model) and any(
        _reshaped(name, own, weights) and weights[name].dim() < own[name].dim() for name in own
    ):
        return (
            ' It holds weights of images, which a backbone of clips takes, a whole model does not: give the backbone '
            "init_cfg=dict(type='mmmamba.Pretrained', checkpoint=...)."
        )
    if positions and image_family_of(model):
        return (
            ' Its position embeddings are of clips of other sizes, which nothing tells: build the model with the '
            'img_size and num_frames that they were learned for; clips of any size can be run.'
        )
    if positions:
        count = weights[positions[0]].shape[1]
        return (
            f' Its {count} position embeddings, extra tokens included, are of a grid that is not square, which nothing '
            'tells: build the model with the img_size that they were learned for; images of any size can be run.'
        )
    if not is_backbone and not any(
        name.startswith('backbone.') for name in apart - _allowed_apart(own, weights, family)
    ):
        return (
            ' Its backbone fits; to start from that alone, give the backbone '
            "init_cfg=dict(type='mmmamba.Pretrained', checkpoint=...), or load_weights(model.backbone, ...)."
        )
    return ''
