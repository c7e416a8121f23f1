"""A checkpoint from the authors' layout to ours and back, without building its model on a device."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from mmmamba.checkpoints.families import FAMILIES
from mmmamba.checkpoints.family import UNFIT, Family
from mmmamba.checkpoints.files import CheckpointError, unwrap
from mmmamba.checkpoints.whole_model import backbone_prefixed, split_backbone
from mmmamba.registry import MODELS


@dataclass(frozen=True)
class Conversion:
    """A converted checkpoint.

    Args:
        family: whose model it is.
        layout: ``ours``, the names of a whole model (``backbone.*``, ``head.*``, ``neck.*`` ...), or ``published``.
        arch: the architecture that its shapes tell.
        weights: names and tensors.
    """

    family: Family
    layout: str
    arch: dict
    weights: dict[str, Tensor]

    def __str__(self) -> str:
        arch = self.family.describe_arch(self.arch)
        return f'{self.family.backbone} {arch}, {len(self.weights)} tensors, layout: {self.layout}'


def convert(checkpoint: Mapping, *, family: str | None = None, ema: bool = False) -> Conversion:
    """Bring a checkpoint into the other layout.

    Args:
        checkpoint: what a file holds: a classifier, detector, segmentor or backbone of the authors or of ours.
        family: name of its family, ``'vmamba'``; None finds it out.
        ema: take the moving average that stands beside the weights.

    Returns:
        The weights: of the authors' layout those of a whole model of ours, of ours the authors'. What a detector or
        segmentor has around its backbone keeps its names.

    Raises:
        CheckpointError: if the weights are of no family with a key map, or fit several.
    """
    weights = unwrap(checkpoint, ema=ema)
    families = [_family(family)] if family else FAMILIES
    found, reasons = [], {}
    for candidate in families:
        try:
            found.append(_convert(weights, candidate))
        except UNFIT as error:  # a key map that meets another family's names or shapes; CheckpointError among them
            reasons[candidate.name] = str(error)
    for is_right in (_gives_back, _is_built) if len(found) > 1 else ():  # names alike
        found = [result for result in found if is_right(result, weights)] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ', '.join(result.family.name for result in found)
        raise CheckpointError(f'these weights fit several families ({names}); say which one')
    details = '; '.join(f'{name}: {reason}' for name, reason in reasons.items())
    raise CheckpointError(f'these weights fit none of {[candidate.name for candidate in families]}: {details}')


def _family(name: str) -> Family:
    found = next((family for family in FAMILIES if family.name == name), None)
    if found is None:
        raise CheckpointError(f'family {name!r} is not one of {sorted(family.name for family in FAMILIES)}')
    return found


def _convert(weights: Mapping[str, Tensor], family: Family) -> Conversion:
    inside, around = split_backbone(weights) if _has_backbone(weights) else (weights, {})
    if family.is_published(inside):
        ours = {**family.read(inside), **around}
        return Conversion(family, 'ours', family.infer_arch(ours), ours)
    arch = family.infer_arch(backbone_prefixed(inside))
    if all(name.startswith(('neck.', 'head.')) for name in around):  # a classifier, or a backbone alone
        published = family.to_published({**backbone_prefixed(inside), **around})
    else:
        published = {**backbone_prefixed(family.to_published(backbone_prefixed(inside))), **around}
    return Conversion(family, 'published', arch, published)


def _gives_back(result: Conversion, weights: Mapping[str, Tensor]) -> bool:
    try:
        again = _convert(result.weights, result.family).weights
    except CheckpointError:
        return False
    expected = weights if _has_backbone(weights) or result.layout == 'ours' else backbone_prefixed(weights)
    return again.keys() == expected.keys() and all(again[name].shape == expected[name].shape for name in again)


def _is_built(result: Conversion, weights: Mapping[str, Tensor]) -> bool:
    """Whether the backbone of that family and architecture has these tensors, output norms aside."""
    ours = result.weights if result.layout == 'ours' else weights
    ours = ours if _has_backbone(ours) else backbone_prefixed(ours)
    try:
        with torch.device('meta'):
            backbone = MODELS.build(dict(type=f'mmmamba.{result.family.backbone}', arch=result.arch, out_indices=(-1,)))
    except (TypeError, ValueError):
        return False
    names = {name for name in split_backbone(ours)[0] if not name.startswith('out_norms.')}
    return names == {name for name in backbone.state_dict() if not name.startswith('out_norms.')}


def _has_backbone(weights: Mapping[str, Tensor]) -> bool:
    return any(name.startswith('backbone.') for name in weights)
