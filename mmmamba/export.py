"""Models as ONNX files, checked in onnxruntime: a selective scan becomes one ONNX ``Scan``, whose body is a step.

PyTorch's exporter cannot look into registered operators, so the two scans run unregistered while it traces, on the
PyTorch path, whose chunked recurrence is exchanged for `scan_step_by_step`. Route tables become constants of the graph.
"""

import importlib
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmmamba.errors import UserError
from mmmamba.ops import use_backend
from mmmamba.ops.selective_scan import interface as sequences
from mmmamba.ops.selective_scan import torch_path
from mmmamba.ops.selective_scan_2d import interface as maps

PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
PARTS = ('model', 'backbone')
OPSET = 18
TOLERANCE = 1e-3  # of the largest value; both sides compute in fp32, in another order


@dataclass(frozen=True)
class Output:
    """One output of an exported file: its shape, and the largest error in onnxruntime relative to the largest value."""

    name: str
    shape: tuple[int, ...]
    error: float


def export_onnx(
    model: BaseModel, size: tuple[int, int], out: str | Path, *, part: str = 'model', batch: int = 1
) -> list[Output]:
    """Write a model of ``mmmamba.apis.get_model`` as ONNX and compare onnxruntime, on the CPU, with PyTorch.

    The input is named ``images``: (batch, C, H, W) fp32, resized and normalised as the config's ``data_preprocessor``
    says; the file's metadata repeats its mean, its std and the order of the channels.

    Args:
        model: a classifier or segmentor; of a detector, the backbone alone.
        size: height and width, fixed in the file, as the routes are.
        out: ``.onnx`` file to write.
        part: ``model``, whose output ``logits`` is what its head returns before softmax, (batch, classes) or
            (batch, classes, H', W'); or ``backbone``, whose outputs are ``map_0``, ``map_1``...
        batch: images at a time, fixed in the file.

    Returns:
        The outputs, with their errors.

    Raises:
        UserError: if a package is missing, the part of the model cannot be exported, or an output is off.
    """
    _require_packages()
    wrapped = _Backbone(model) if part == 'backbone' else _whole(model, part)
    images = torch.randn(batch, _input_channels(model), *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = wrapped(images)
        program = _export(wrapped.eval(), images, len(expected) if part == 'backbone' else 0)
    program.model.metadata_props.update(_metadata(model))
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    program.save(str(out))
    return _compare(str(out), images, expected)


class _Backbone(nn.Module):
    """The maps of a model's backbone, or of one that is no part of a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.backbone = getattr(model, 'backbone', model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> (B, C_i, H_i, W_i) each."""
        return tuple(self.backbone(images))


class _Logits(nn.Module):
    """A classifier's or segmentor's logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """(B, C, H, W) -> (B, classes) or (B, classes, H', W')."""
        return (self.model(images, mode='tensor'),)


def _whole(model: BaseModel, part: str) -> nn.Module:
    if part != 'model':
        raise UserError(f'part {part!r} is not one of {", ".join(PARTS)}')
    if model.cfg.default_scope == 'mmdet':
        raise UserError(
            f'a {type(model).__name__} does not export as a whole: its proposals and its suppression of boxes have no '
            "fixed shapes; export its backbone, --part backbone, and run mmdet's neck and heads on the maps"
        )
    return _Logits(model)


def _require_packages() -> None:
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        raise UserError(f'the export needs {", ".join(missing)}; pip install {" ".join(PACKAGES)}')
    if not _has_exporter():
        raise UserError(f'the export needs torch 2.9 or newer, which knows ONNX Scan; found {torch.__version__}')


def _has_exporter() -> bool:
    return tuple(int(number) for number in torch.__version__.split('.')[:2]) >= (2, 9)


def _input_channels(model: nn.Module) -> int:
    return next(module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d))


def _export(model: nn.Module, images: Tensor, maps: int) -> Any:
    with exportable_scans():
        # Strict would have dynamo read the model's code; this traces it as Python runs it, and raises all the same.
        exported = torch.export.export(model, (images,), strict=False)
    table_op = torch.ops.mmmamba.route_tables.default
    return torch.onnx.export(
        exported,
        (),
        dynamo=True,
        opset_version=OPSET,
        input_names=['images'],
        output_names=[f'map_{i}' for i in range(maps)] or ['logits'],
        custom_translation_table={table_op: _constant_tables},
        verbose=False,
    )


def _constant_tables(names: str, sizes: Sequence[int], device: str) -> Any:
    import onnx
    from onnxscript import opset18

    table = torch.ops.mmmamba.route_tables(names, list(sizes), torch.device('cpu'))
    return opset18.Constant(value=onnx.numpy_helper.from_array(table.numpy()))


@contextmanager
def exportable_scans() -> Iterator[None]:
    """Inside the ``with`` block, scans are made of what PyTorch's exporter knows."""
    with ExitStack() as stack:
        stack.enter_context(use_backend('torch'))
        stack.enter_context(mock.patch.object(sequences, '_selective_scan_op', _scan_sequences))
        stack.enter_context(mock.patch.object(maps, '_selective_scan_2d_op', maps.scan))
        stack.enter_context(mock.patch.object(torch_path, 'scan_forward', scan_step_by_step))
        yield


def scan_step_by_step(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, bias: Tensor | None, softplus: bool
) -> Tensor:
    """As :func:`mmmamba.ops.selective_scan.torch_path.scan_forward`, as PyTorch's higher-order ``scan`` over dim 1."""
    scan = importlib.import_module('torch._higher_order_ops.scan').scan
    dt = torch_path._step_size(delta, bias, softplus)

    def step(h: Tensor, at_t: list[Tensor]) -> tuple[Tensor, Tensor]:
        dt, u, B, C = at_t  # (b, G, E) twice, (b, G, N) twice
        h = torch.exp(dt.unsqueeze(-1) * A) * h + (dt * u).unsqueeze(-1) * B.unsqueeze(-2)  # (b, G, E, N)
        return h, (h * C.unsqueeze(-2)).sum(-1)

    start = delta.new_zeros(*delta[:, 0].shape, A.shape[2])
    _, y = scan(step, start, [t.expand(*t.shape).movedim(1, 0) for t in (dt, u.expand_as(dt), B, C)])
    y = y.movedim(0, 1)  # (L, b, G, E) -> (b, L, G, E)
    return y if D is None else y + D * u


def _scan_sequences(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    delta_softplus: bool,
    reverse: bool,
    backend: str,
) -> Tensor:
    """The op ``mmmamba::selective_scan`` without its registration; its routes are flips."""
    groups = B.shape[2]
    tokens = (sequences._grouped_tokens(t, groups) for t in (u, delta))
    u_, delta_, B, C = ((t.flip(1) if reverse else t).float() for t in (*tokens, B, C))
    A = A.unflatten(0, (groups, -1)).float()
    D, bias = (None if p is None else p.unflatten(0, (groups, -1)).float() for p in (D, delta_bias))
    y = torch_path.scan_forward(u_, delta_, A, B, C, D, bias, delta_softplus)
    return (y.flip(1) if reverse else y).flatten(2).to(u.dtype)


def _metadata(model: nn.Module) -> dict[str, str]:
    """What a runtime needs to know to prepare an image, as strings."""
    preprocessor = getattr(model, 'data_preprocessor', None)
    mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
    metadata = {'torch': str(torch.__version__)}
    if isinstance(mean, Tensor) and isinstance(std, Tensor):
        metadata |= {'mean': json.dumps(mean.flatten().tolist()), 'std': json.dumps(std.flatten().tolist())}
    switches = ('to_rgb', 'channel_conversion', '_channel_conversion')  # mmpretrain's, mmseg's, mmengine's name
    swaps = any(getattr(preprocessor, switch, False) for switch in switches)
    metadata['channels'] = 'RGB' if swaps else 'BGR'
    classes = getattr(model, 'dataset_meta', {}).get('classes')
    return metadata if classes is None else metadata | {'classes': json.dumps(list(classes))}


def _compare(file: str, images: Tensor, expected: Sequence[Tensor]) -> list[Output]:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    found = session.run(None, {'images': images.numpy()})
    outputs = []
    for value, node, reference in zip(found, session.get_outputs(), expected, strict=True):
        error = (torch.from_numpy(value) - reference).abs().max() / reference.abs().max()
        outputs.append(Output(node.name, tuple(value.shape), error.item()))
    for output in outputs:
        if not output.error < TOLERANCE:
            raise UserError(
                f'{file}: output {output.name} is {output.error:.1e} off in onnxruntime; do not use the file'
            )
    return outputs
