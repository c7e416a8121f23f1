"""The effective receptive field: how much each pixel of the image moves the centre of a map.

Source: Luo et al., "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks" (2016). The
high-contribution area ratio is that of Ding et al., "Scaling Up Your Kernels to 31x31" (2022), section 4.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

THRESHOLDS = (0.2, 0.3, 0.5, 0.99)


def receptive_field(backbone: nn.Module, images: Iterable[Tensor], index: int = -1) -> Tensor:
    """Gradient of the centre of a map with respect to the image.

    The channels are summed with random signs, others for each image and the same in every call: a plain sum, which the
    papers take, is constant behind a LayerNorm and its gradient rounding noise.

    Args:
        backbone: in evaluation mode; what it returns are maps (B, C, H', W').
        images: batches (B, 3, H, W) of one size.
        index: which of the maps.

    Returns:
        (H, W) float32: absolute values, summed over the colours, mean over the images.

    Raises:
        ValueError: if there is no image, no map of that index, or what the backbone returns is none.
    """
    total, count, draw = 0, 0, torch.Generator().manual_seed(0)
    for batch in images:
        batch = batch.detach().requires_grad_()
        maps = backbone(batch)
        maps = maps if isinstance(maps, tuple | list) else (maps,)
        if not -len(maps) <= index < len(maps):
            raise ValueError(f'map {index} does not exist; the backbone returns {len(maps)}')
        out = maps[index]
        if out.dim() != 4:
            raise ValueError(f'the backbone returns {tuple(out.shape)}, not a map; build it with out_type="featmap"')
        signs = torch.randint(0, 2, out.shape[:2], generator=draw).mul(2).sub(1).to(out)
        centre = out[:, :, out.shape[2] // 2, out.shape[3] // 2]  # (B, C)
        (gradient,) = torch.autograd.grad((signs * centre).sum(), batch)
        total, count = total + gradient.abs().sum((0, 1)), count + len(batch)
    if not count:
        raise ValueError('receptive_field: no image; it needs at least one batch')
    return (total / count).float().cpu()


def area_ratio(field: Tensor, threshold: float) -> float:
    """Share of the image in the smallest centred square, cut at the edges, that holds ``threshold`` of all gradient.

    Args:
        field: (H, W), not negative.
        threshold: 0 to 1.
    """
    rows, cols = field.shape
    distance = torch.maximum(
        (torch.arange(rows) - rows // 2).abs()[:, None].expand(rows, cols),
        (torch.arange(cols) - cols // 2).abs()[None].expand(rows, cols),
    ).flatten()
    inside = torch.zeros(int(distance.max()) + 1, dtype=torch.float64)
    inside.index_add_(0, distance, field.flatten().double())
    share = inside.cumsum(0) / inside.sum()
    radius = int((share < threshold - 1e-12).sum())
    return float((distance <= radius).double().mean())


def plot_fields(fields: Sequence[Tensor], names: Sequence[str]) -> Figure:
    """The fields side by side, in one logarithmic scale of their own maximum.

    Args:
        fields: each (H, W).
        names: one each.
    """
    figure = Figure((4 * len(fields), 4.3), dpi=120, layout='constrained')
    for axes, field, name in zip(figure.subplots(1, len(fields), squeeze=False)[0], fields, names, strict=True):
        values = np.log10(field.numpy() / max(float(field.max()), 1e-30) + 1e-4)
        axes.imshow(values, cmap='viridis', vmin=-4, vmax=0)
        ratios = ', '.join(f'{t:.0%}: {area_ratio(field, t):.1%}' for t in THRESHOLDS)
        axes.set_title(f'{name}\n{ratios}', fontsize=8)
        axes.axis('off')
    return figure
