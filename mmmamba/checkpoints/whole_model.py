"""Whole models in the layout of OpenMMLab: ``backbone.*`` beside ``head.*`` and others."""

from torch import Tensor

from mmmamba.checkpoints.family import Weights


def split_backbone(weights: Weights) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """A whole model's tensors: the backbone's, without the prefix, and those around it."""
    inside = {name.removeprefix('backbone.'): w for name, w in weights.items() if name.startswith('backbone.')}
    around = {name: w for name, w in weights.items() if not name.startswith('backbone.')}
    return inside, around


def backbone_prefixed(weights: Weights) -> dict[str, Tensor]:
    """A backbone's tensors under their names in a whole model."""
    return {f'backbone.{name}': tensor for name, tensor in weights.items()}


def join_backbone(inside: Weights, around: Weights) -> dict[str, Tensor]:
    """The reverse of ``split_backbone``; a backbone with nothing around it is saved without the prefix."""
    return {**backbone_prefixed(inside), **around} if around else dict(inside)
