"""Throughput, latency and peak memory of whole models, inference and training, ours beside those of other libraries.

No cell is timed before the model has given the right result in that precision and way of running: outputs, or the
gradients of all parameters, against eager fp32, ours with the plain PyTorch path of its scans. Figures are medians over
rounds after warm-up. One model is on the device at a time, so that the peak is its own.
"""

import gc
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mmmamba.analysis.benchmark_models import CLASSES, expand, find_model, is_ours, label, takes_clips
from mmmamba.analysis.op_benchmark import describe
from mmmamba.errors import UserError
from mmmamba.ops import use_backend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MODES = ('inference', 'training')  # training: forward, loss, backward; no optimizer
RUNS = ('eager', 'compiled', 'graph')  # graph: replay of a CUDA graph
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}  # the last two by autocast
# Largest error relative to the norm of the fp32 result; gradients are allowed four times as much.
TOLERANCE = {'fp32': 1e-2, 'bf16': 1e-1, 'fp16': 5e-2}
SECONDS_PER_ROUND = 0.5
MIB = 2**20


@dataclass(frozen=True)
class Cell:
    """What is timed on every model; ``size`` is height and width, of clips frames before them."""

    mode: str
    run: str
    size: tuple[int, ...]
    batch: int
    dtype: str

    def __str__(self) -> str:
        return f'{self.mode} {self.run} {self.dtype} {"x".join(map(str, (self.batch, *self.size)))}'


@dataclass(frozen=True)
class Row:
    """Figures of one model in one cell; ``problem`` says why there are none.

    Args:
        model: short name.
        cell: what was timed.
        error: relative error that it was let through with.
        milliseconds: median of a batch, the latency.
        spread: largest less smallest round, over the median.
        images_per_second: batch over latency; a clip counts as one.
        peak_mib: largest memory that PyTorch held on the GPU; None on the CPU.
        problem: why it was not timed: wrong, failed, out of memory, or no such way of running here.
    """

    model: str
    cell: Cell
    error: float | None = None
    milliseconds: float | None = None
    spread: float | None = None
    images_per_second: float | None = None
    peak_mib: float | None = None
    problem: str | None = None


def benchmark(specs: Sequence[str], cells: Sequence[Cell], device: torch.device, rounds: int = 5) -> Iterator[Row]:
    """Time models, one after the other, in every cell.

    Args:
        specs: models, as ``benchmark_models.KINDS`` has them.
        cells: what to time.
        device: where.
        rounds: how many rounds the median is taken over.

    Yields:
        A row for each model and cell.

    Raises:
        UserError: if there is no such model, or a size is not of what it takes; before any is timed.
    """
    models = {spec: find_model(spec) for spec in expand(specs)}
    for spec, cell in itertools.product(models, cells):
        _check_size(spec, cell.size)
    for spec, build in models.items():
        for size in dict.fromkeys(cell.size for cell in cells):
            model = build(size).to(device)
            references = {}  # by mode, at this size
            for cell in (cell for cell in cells if cell.size == size):
                yield _row(model, label(spec), cell, device, rounds, references)
            del model
            _free(device)


def _check_size(spec: str, size: tuple[int, ...]) -> None:
    kind, axes, example = ('clips', 3, '32x224x224') if takes_clips(spec) else ('images', 2, '224x224')
    if len(size) != axes:
        raise UserError(
            f'model {spec!r} takes {kind}, which have no size {"x".join(map(str, size))}; give sizes such as {example}'
        )


def _row(
    model: nn.Module, name: str, cell: Cell, device: torch.device, rounds: int, references: dict[str, Tensor]
) -> Row:
    if cell.run == 'graph' and device.type != 'cuda':
        return Row(name, cell, problem='graphs need CUDA')
    try:
        if cell.mode not in references:
            references[cell.mode] = _reference(model, cell, device)
        error = _error(model, cell, device, references[cell.mode])
        limit = TOLERANCE[cell.dtype] * (4 if cell.mode == 'training' else 1)
        if not error <= limit:
            return Row(name, cell, error=error, problem=f'wrong: error {error:.1e} above {limit:.0e}')
        seconds, peak = _measure(model, cell, device, rounds)
    except torch.cuda.OutOfMemoryError:
        return Row(name, cell, problem='out of memory')
    except RuntimeError as error:  # of a compiler or a capture, say: the others go on
        return Row(name, cell, problem=f'failed: {str(error).strip().splitlines()[0][:120]}')
    finally:
        model.zero_grad(set_to_none=True)
        if cell.run == 'compiled':
            torch._dynamo.reset()
        _free(device)
    median = statistics.median(seconds)
    spread = (max(seconds) - min(seconds)) / median
    return Row(name, cell, error, median * 1e3, spread, cell.batch / median, peak)


# -- the gate -------------------------------------------------------------------------------------------------------


def _reference(model: nn.Module, cell: Cell, device: torch.device) -> Tensor:
    with use_backend('torch') if is_ours(model) else nullcontext():
        return _result(model, Cell(cell.mode, 'eager', cell.size, 2, 'fp32'), device)


def _error(model: nn.Module, cell: Cell, device: torch.device, reference: Tensor) -> float:
    """Of two images, in evaluation mode, which draws nothing at random."""
    found = _result(model, Cell(cell.mode, cell.run, cell.size, 2, cell.dtype), device)
    return ((found - reference).norm() / reference.norm()).item()


def _result(model: nn.Module, cell: Cell, device: torch.device) -> Tensor:
    """Logits, or all gradients in one vector, fp32."""
    output = _runner(model.eval(), cell, device)()
    if cell.mode == 'inference':
        return output.detach().float().clone()
    gradients = [p.grad.float().flatten() for p in model.parameters() if p.grad is not None]
    result = torch.cat(gradients)
    model.zero_grad(set_to_none=True)
    return result


# -- running --------------------------------------------------------------------------------------------------------


def _runner(model: nn.Module, cell: Cell, device: torch.device) -> Callable[[], Tensor]:
    """One step of a cell: returns logits, or the loss with the gradients in place."""
    g = torch.Generator().manual_seed(0)
    images = torch.randn(cell.batch, 3, *cell.size, generator=g).to(device)
    labels = torch.randint(CLASSES, (cell.batch,), generator=g).to(device)
    call = torch.compile(model, dynamic=False) if cell.run == 'compiled' else model
    autocast = {} if cell.run != 'graph' else dict(cache_enabled=False)  # a captured cast of a weight would go stale

    def step() -> Tensor:
        is_training = cell.mode == 'training'
        model.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(is_training):
            with torch.autocast(device.type, DTYPES[cell.dtype], enabled=cell.dtype != 'fp32', **autocast):
                logits = call(images)
            if not is_training:
                return logits
            loss = F.cross_entropy(logits.float(), labels % logits.shape[1])  # a config's may be fewer classes
            loss.backward()
            return loss.detach()

    return _captured(step, device) if cell.run == 'graph' else step


def _captured(step: Callable[[], Tensor], device: torch.device) -> Callable[[], Tensor]:
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    torch.cuda.current_stream(device).wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        output = step()

    def replay() -> Tensor:
        graph.replay()
        return output

    return replay


def _measure(model: nn.Module, cell: Cell, device: torch.device, rounds: int) -> tuple[list[float], float | None]:
    """Seconds of a step in each round, and the peak of memory in MiB."""
    _free(device)
    if device.type == 'cuda':
        torch.cuda.reset_peak_memory_stats(device)
    step = _runner(model.train(cell.mode == 'training'), cell, device)
    step()
    once = min(_seconds(step, 1, device) for _ in range(2))
    repeats = max(1, min(100, math.ceil(SECONDS_PER_ROUND / once)))
    seconds = [_seconds(step, repeats, device) for _ in range(rounds)]
    peak = torch.cuda.max_memory_allocated(device) / MIB if device.type == 'cuda' else None
    return seconds, peak


def _seconds(step: Callable[[], Tensor], repeats: int, device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    for _ in range(repeats):
        step()
    _wait(device)
    return (time.perf_counter() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _free(device: torch.device) -> None:
    if device.type == 'cuda':
        gc.collect()
        torch.cuda.empty_cache()


# -- the report -----------------------------------------------------------------------------------------------------


def to_json(rows: Sequence[Row], device: torch.device, command: str) -> dict:
    """Everything for a file: device, versions, date, command, rows."""
    return dict(**describe(device), date=date.today().isoformat(), command=command, rows=[asdict(row) for row in rows])


def table(rows: Sequence[Row], device: torch.device) -> str:
    """Markdown: for every cell, the models with the fastest first."""
    facts = ', '.join(f'{key} {value}' for key, value in describe(device).items())
    lines = [facts, '', '| cell | model | img/s | ms | spread | peak MiB | error |', '|---|---|---|---|---|---|---|']
    for cell in dict.fromkeys(row.cell for row in rows):
        found = [row for row in rows if row.cell == cell]
        for row in sorted(found, key=lambda row: -(row.images_per_second or 0)):
            lines.append(f'| {cell} | {row.model} | {" | ".join(_figures(row))} |')
    return '\n'.join(lines)


def _figures(row: Row) -> list[str]:
    if row.problem:
        return [row.problem, '–', '–', '–', '–']
    peak = '–' if row.peak_mib is None else f'{row.peak_mib:.0f}'
    per_second = f'{row.images_per_second:.0f}' if row.images_per_second >= 100 else f'{row.images_per_second:.1f}'
    return [per_second, f'{row.milliseconds:.2f}', f'{row.spread:.0%}', peak, f'{row.error:.1e}']


def plot(rows: Sequence[Row], device: torch.device, file: str | Path) -> None:
    """Throughput, against the number of pixels if there are several sizes.

    A panel for each mode, way of running, batch and precision.
    """
    from matplotlib.figure import Figure

    rows = [row for row in rows if row.images_per_second]
    panels = list(dict.fromkeys(map(_panel, rows)))
    models = list(dict.fromkeys(row.model for row in rows))
    draw = _bars if len({row.cell.size for row in rows}) == 1 else _curves
    height = max(4.2, 0.16 * len(models)) if draw is _bars else 4.2
    figure = Figure(figsize=(5.5 * max(1, min(3, len(panels))), height * math.ceil(len(panels) / 3) + 0.6))
    figure.set_layout_engine('constrained')
    figure.suptitle(describe(device)['device'], fontsize=10)
    axes = figure.subplots(max(1, math.ceil(len(panels) / 3)), max(1, min(3, len(panels))), squeeze=False).flat
    for axis in axes[len(panels) :]:
        axis.remove()
    for panel, axis in zip(panels, axes[: len(panels)], strict=True):
        draw(axis, [row for row in rows if _panel(row) == panel], models)
        axis.set_title('{}, {}, {}, batch {}'.format(*panel), fontsize=9)
        axis.grid(alpha=0.3)
    figure.savefig(file, dpi=110)


def _curves(axis: 'Axes', rows: list[Row], models: list[str]) -> None:
    """A curve over the sizes for each model."""
    for i, model in enumerate(models):
        mine = sorted((row for row in rows if row.model == model), key=lambda row: math.prod(row.cell.size))
        pixels = [math.prod(row.cell.size) for row in mine]
        style = 's--' if _is_foreign(model) else 'o-'
        axis.plot(pixels, [row.images_per_second for row in mine], style, color=f'C{i % 10}', label=model)
    axis.set(xscale='log', yscale='log', xlabel='pixels of an image', ylabel='images per second')
    axis.legend(fontsize=7)


def _bars(axis: 'Axes', rows: list[Row], models: list[str]) -> None:
    """A bar for each model, the fastest on top: of one size a curve would be a point."""
    rows = sorted(rows, key=lambda row: row.images_per_second)
    colours = ['C1' if _is_foreign(row.model) else 'C0' for row in rows]
    axis.barh([row.model for row in rows], [row.images_per_second for row in rows], color=colours)
    axis.set(xscale='log', xlabel='images per second')
    axis.tick_params(axis='y', labelsize=7)


def _is_foreign(model: str) -> bool:
    return model.startswith(('timm:', 'mmpretrain:'))


def _panel(row: Row) -> tuple[str, str, str, int]:
    return row.cell.mode, row.cell.run, row.cell.dtype, row.cell.batch
