"""The model inside its wrappers."""

from torch import nn


def unwrap_model(model: nn.Module) -> nn.Module:
    """The detector, segmentor or classifier inside DistributedDataParallel or test-time augmentation."""
    while isinstance(getattr(model, 'module', None), nn.Module):
        model = model.module
    return model
