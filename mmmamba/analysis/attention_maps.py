"""Heat maps from hidden attention: one layer's matrix, rollout and attribution, on the image.

Source: Ali, Zimerman and Wolf, "The Hidden Attention of Mamba Models" (2024), section 4; rollout after Abnar and
Zuidema (2020). No paper defines a product of matrices over stages of different resolution, so rollout stays within one.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from mmmamba.analysis.hidden_attention import (
    ScanRecord,
    attention,
    channel_matrices,
    reconstruction_error,
    record_scans,
)
from mmmamba.engine.progress import tracked
from mmmamba.errors import UserError
from mmmamba.layers import SS2D, MambaMixer, MapMambaMixer
from mmmamba.layers.scans.atrous import AtrousScan
from mmmamba.models.backbones.token_backbone import TokenBackbone
from mmmamba.scans import Scan

SIGNS = ('abs', 'clamp', 'raw')
METHODS = ('raw', 'rollout', 'attribution')
MOST_TOKENS = 1600  # that whole matrices are made of


@dataclass
class Layer:
    """The scans of one block.

    Args:
        name: of the block, ``backbone.stages.2.blocks.1``.
        records: its scans, whose matrices add up.
        grid: rows and columns of the map.
        places: of extra tokens among its tokens.
    """

    name: str
    records: list[ScanRecord]
    grid: tuple[int, int]
    places: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """Pixels and extra tokens."""
        return self.records[0].tokens


def layers_of(model: nn.Module, records: Sequence[ScanRecord]) -> list[Layer]:
    """Scans by block, first to last.

    Args:
        model: that was recorded.
        records: of ``record_scans``.

    Raises:
        UserError: if the model has no scan, or one whose tokens are not the pixels of its map.
    """
    if not records:
        raise UserError(f'no selective scan ran in this {type(model).__name__}: it has no hidden attention')
    backbone = getattr(model, 'backbone', model)
    layers: dict[str, Layer] = {}
    for record in records:
        match = re.match(r'(.*\b(?:blocks|layers)\.\d+)', record.path[-1])
        name = match[1] if match else record.path[-1]
        if name in layers:
            layers[name].records.append(record)
        else:
            layers[name] = Layer(name, [record], *_layout(backbone, model, record))
    return list(layers.values())


def stages_of(layers: Sequence[Layer]) -> list[list[Layer]]:
    """Runs of layers over one grid."""
    stages: list[list[Layer]] = []
    for layer in layers:
        if stages and stages[-1][-1].grid == layer.grid:
            stages[-1].append(layer)
        else:
            stages.append([layer])
    return stages


def query_rows(layer: Layer, query: str) -> Tensor:
    """The tokens that a query means.

    Args:
        layer: whose tokens.
        query: ``class`` (its extra tokens), ``mean`` (all), ``centre``, or ``ROW,COLUMN`` of the map.

    Returns:
        (R,) int64.

    Raises:
        UserError: if there are none such.
    """
    pixels = torch.tensor([i for i in range(layer.tokens) if i not in layer.places])
    if query == 'mean':
        return pixels
    if query == 'class':
        if not layer.places:
            raise UserError("this model has no class token to query; take 'mean', 'centre' or ROW,COLUMN")
        return torch.tensor(layer.places)
    rows, cols = layer.grid
    match = re.fullmatch(r'(\d+),(\d+)', f'{rows // 2},{cols // 2}' if query == 'centre' else query)
    if match is None or int(match[1]) >= rows or int(match[2]) >= cols:
        raise UserError(f"query {query!r} is not 'class', 'mean', 'centre' or ROW,COLUMN of a map of {rows}x{cols}")
    return pixels[int(match[1]) * cols + int(match[2])][None]


def raw_map(layer: Layer, query: str) -> Tensor:
    """What the query's rows of the layer's matrix, mean over the channels, hold: (B, h, w), absolute values."""
    rows = query_rows(layer, query)
    return _as_map(layer, sum(attention(record, rows) for record in layer.records).mean(1).abs())


def rollout_map(
    stage: Sequence[Layer], query: str, *, sign: str = 'abs', report: Callable[[str], None] | None = None
) -> Tensor:
    """The query's rows of the product of the stage's matrices, each with 1 added on its diagonal and rows of sum 1.

    Args:
        stage: layers over one grid.
        query: as in ``query_rows``.
        sign: ``abs``, ``clamp`` (at 0) or ``raw``, whose row sums may be near 0.
        report: called with a line of progress now and then.

    Returns:
        (B, h, w), not negative.
    """
    _check_size(stage)
    layers = tracked(stage, len(stage), report, 'layers')
    matrices = [_signed(sum(map(attention, layer.records)), sign) for layer in layers]
    return _roll_out(stage[-1], matrices, query)


def attribution_map(stage: Sequence[Layer], query: str, *, report: Callable[[str], None] | None = None) -> Tensor:
    """Rollout of what speaks for a score: positive attention times positive gradient of the scans' outputs.

    Args:
        stage: layers over one grid, recorded with gradients, after ``backward`` of the score.
        query: as in ``query_rows``.
        report: called with a line of progress now and then.

    Returns:
        (B, h, w), not negative.

    Raises:
        UserError: if there are no gradients.
    """
    _check_size(stage)
    matrices = []
    for layer in tracked(stage, len(stage), report, 'layers'):
        total = 0
        for record in layer.records:
            if record.output is None or record.output.grad is None:
                raise UserError(f'{layer.name} has no gradient; the score does not depend on it')
            weight = record.output.grad.detach().cpu().double().clamp(min=0).flatten(1, -2).amax(-1)  # (B, L)
            total = total + _positive(record) * _min_max(weight)[:, None]
        matrices.append(total)
    return _roll_out(stage[-1], matrices, query)


def attention_heat(
    model: nn.Module,
    image: Tensor,
    method: str,
    *,
    layer: int = -1,
    stage: int = -1,
    query: str | None = None,
    target: int | None = None,
    sign: str = 'abs',
    report: Callable[[str], None] | None = None,
) -> tuple[Tensor, str, float]:
    """Heat of one image.

    Args:
        model: a classifier, segmentor or detector, in evaluation mode; attribution needs a classifier or segmentor.
        image: (1, 3, H, W), preprocessed.
        method: ``raw``, ``rollout`` or ``attribution``.
        layer: which of the stage's, from the end if negative; of ``rollout`` and ``attribution`` the last.
        stage: which run of layers over one grid.
        query: as in ``query_rows``; None is ``class`` where there is a class token, else ``mean``.
        target: class whose score attribution explains; None is the one predicted.
        sign: of rollout.
        report: called with a line of progress now and then.

    Returns:
        (h, w), the name of the layer, and the largest relative error of ``y = alpha u + D u`` in it over eight tokens.

    Raises:
        UserError: if the model has no such layer, or no matrices that have a place on the image.
    """
    if method not in METHODS:
        raise ValueError(f'method {method!r} is not one of {METHODS}')
    run = (lambda: model(image, mode='tensor')) if method == 'attribution' else (lambda: model.backbone(image))
    with torch.set_grad_enabled(method == 'attribution'):
        records, result = record_scans(model, run)
    stages = stages_of(layers_of(model, records))
    if not -len(stages) <= stage < len(stages):
        raise UserError(f'stage {stage} does not exist; the model has {len(stages)} stages that scan')
    chosen = stages[stage]
    if not -len(chosen) <= layer < len(chosen):
        raise UserError(f'layer {layer} does not exist; stage {stage} has {len(chosen)}')
    chosen = chosen[: layer % len(chosen) + 1]
    if any(len(record.u) != len(image) for each in chosen for record in each.records):
        raise UserError(
            f'{chosen[-1].name} scans windows of its map one by one; take a size at which one holds the map'
        )
    query = query or ('class' if chosen[-1].places else 'mean')
    if method == 'attribution':
        _backward_of_score(result, target)
        heat = attribution_map(chosen, query, report=report)
    else:
        heat = raw_map(chosen[-1], query) if method == 'raw' else rollout_map(chosen, query, sign=sign, report=report)
    rows = torch.linspace(0, chosen[-1].tokens - 1, 8).long()
    return heat[0], chosen[-1].name, max(reconstruction_error(record, rows) for record in chosen[-1].records)


def _backward_of_score(result: object, target: int | None) -> None:
    """Gradient of a class's score: (1, C) of a classifier, or (1, C, h, w) of a segmentor, mean over the pixels."""
    scores = result[0] if isinstance(result, tuple | list) else result
    if not isinstance(scores, Tensor) or scores.dim() not in (2, 4):
        raise UserError('attribution explains a score of a class: it takes a classifier or segmentor')
    scores = scores[0].flatten(1).mean(1) if scores.dim() == 4 else scores[0]
    if target is not None and not 0 <= target < len(scores):
        raise UserError(f'class {target} does not exist; the model has the classes 0 to {len(scores) - 1}')
    scores[int(scores.argmax()) if target is None else target].backward()


def overlay(image: np.ndarray, heat: Tensor, opacity: float = 0.5) -> np.ndarray:
    """A heat map (h, w) over an image (H, W, 3), uint8, BGR, blue for the least and red for the most."""
    values = _min_max(heat.flatten()[None]).view(heat.shape).float().numpy()
    values = cv2.resize(values, image.shape[1::-1], interpolation=cv2.INTER_CUBIC).clip(0, 1)
    colours = cv2.applyColorMap(np.uint8(255 * values), cv2.COLORMAP_JET)
    return cv2.addWeighted(image, 1 - opacity, colours, opacity, 0)


def _layout(backbone: nn.Module, model: nn.Module, record: ScanRecord) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Grid and places of extra tokens.

    Raises:
        UserError: if the tokens are in another order than the map's pixels.
    """
    modules = dict(model.named_modules())
    around = [modules[name] for name in record.path]
    walks_map = isinstance(record.module, SS2D | AtrousScan) or isinstance(getattr(record.module, 'scan', None), Scan)
    if record.grid and record.grid[0] * record.grid[1] == record.tokens:
        if walks_map or any(isinstance(module, MapMambaMixer) for module in around):
            return record.grid, ()
    elif isinstance(backbone, TokenBackbone) and any(type(module) is MambaMixer for module in around):
        extra = 0 if backbone.cls_tokens is None else backbone.cls_tokens.weight.shape[1]
        patches = record.tokens - extra
        side = int(patches**0.5)
        if side * side == patches:
            return (side, side), () if not extra else backbone.cls_tokens.places(patches)
        raise UserError(f'{patches} patches are no square; give the token model a square image')
    raise UserError(
        f'the {type(record.module).__name__} at {record.path[-1]!r} does not scan the pixels of its map as they lie, '
        'so its matrices have no place on the image; SS2D along plain routes, Vim and MambaND can be shown'
    )


def _check_size(stage: Sequence[Layer]) -> None:
    if stage[-1].tokens > MOST_TOKENS:
        raise UserError(
            f'{stage[-1].name} has {stage[-1].tokens} tokens, whole matrices are made of {MOST_TOKENS} at most; take a '
            'later stage, a smaller image or the method raw'
        )


def _signed(matrix: Tensor, sign: str) -> Tensor:
    if sign not in SIGNS:
        raise ValueError(f'sign {sign!r} is not one of {SIGNS}')
    return {'abs': matrix.abs, 'clamp': lambda: matrix.clamp(min=0), 'raw': lambda: matrix}[sign]()


def _positive(record: ScanRecord) -> Tensor:
    """Mean over the channels of what is positive, each from 0 to 1: (B, L, L)."""
    total, count = 0, 0
    for matrices in channel_matrices(record):
        positive = matrices.clamp(min=0)
        total = total + (positive / positive.amax((1, 2), keepdim=True).clamp(min=1e-30)).sum(-1)
        count += matrices.shape[-1]
    return total / count


def _roll_out(layer: Layer, matrices: Sequence[Tensor], query: str) -> Tensor:
    rows = query_rows(layer, query)
    product = torch.eye(layer.tokens, dtype=torch.float64)[rows]  # (R, L): only the query's rows of the product
    for matrix in reversed(matrices):
        mixed = matrix + torch.eye(layer.tokens, dtype=matrix.dtype)
        product = product @ (mixed / mixed.sum(-1, keepdim=True))
    if query != 'mean':
        product[..., torch.arange(len(rows)), rows] = 0  # the query itself outshines all else
    return _as_map(layer, product.mean(1).clamp(min=0))


def _as_map(layer: Layer, values: Tensor) -> Tensor:
    """(B, L) without extra tokens as (B, h, w)."""
    pixels = [i for i in range(layer.tokens) if i not in layer.places]
    return values[:, pixels].unflatten(1, layer.grid)


def _min_max(values: Tensor) -> Tensor:
    """Each row of (B, L) from 0 to 1."""
    low, high = values.amin(1, keepdim=True), values.amax(1, keepdim=True)
    return (values - low) / (high - low).clamp(min=1e-30)
