"""Time the 2-D selective scan on every backend of a device, beside a loop over the steps in PyTorch.

Nothing is timed before it has given the right answer. Implementations take turns, so that a busy moment of the machine
hits all of them; figures are medians after warm-up.
"""

import functools
import math
import platform
import re
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from mmmamba.ops import BACKENDS, reference, selective_scan_2d
from mmmamba.ops.backend import resolve_backend
from mmmamba.scans import build_scan

LOOP = 'step loop'  # the baseline
PASSES = ('forward', 'forward+backward')
TOLERANCE = 1e-5  # of fp32, relative to the largest value
SCANS = {1: 'unidirectional', 2: 'bidirectional', 4: 'cross'}


@dataclass(frozen=True)
class Shape:
    """Sizes of one call: ``channels`` is the width of the scan, E; the rank of the step size is a sixteenth of it."""

    batch: int
    routes: int
    channels: int
    height: int
    width: int
    d_state: int

    def __str__(self) -> str:
        return f'{self.batch},{self.routes},{self.channels},{self.height}x{self.width},{self.d_state}'


# The stages of VMamba-T at 224 x 224, and its first stage with the state of the first release.
DEFAULT_SHAPES = (
    Shape(2, 4, 96, 56, 56, 1),
    Shape(2, 4, 192, 28, 28, 1),
    Shape(2, 4, 384, 14, 14, 1),
    Shape(2, 4, 192, 56, 56, 16),
)
GATE_SHAPES = (Shape(2, 4, 9, 7, 5, 1), Shape(1, 4, 130, 9, 13, 3))


@dataclass(frozen=True)
class Timing:
    """Median milliseconds of one implementation, and how many times as long the step loop takes."""

    shape: str
    what: str
    implementation: str
    milliseconds: float
    speedup: float


def parse_shape(text: str) -> Shape:
    """A shape as one writes it: batch, routes, channels, height x width, d_state.

    Args:
        text: such as ``2,4,96,56x56,1``.

    Returns:
        The shape.

    Raises:
        ValueError: if the text is no shape, or no scan has that many routes.
    """
    match = re.fullmatch(r'(\d+),(\d+),(\d+),(\d+)x(\d+),(\d+)', text.replace(' ', ''))
    if match is None or 0 in map(int, match.groups()) or int(match[2]) not in SCANS:
        raise ValueError(
            f'shape {text!r} is not BATCH,ROUTES,CHANNELS,HEIGHTxWIDTH,D_STATE with {sorted(SCANS)} routes, '
            'such as 2,4,96,56x56,1'
        )
    return Shape(*map(int, match.groups()))


def make_inputs(shape: Shape, device: torch.device, seed: int = 0) -> dict[str, Tensor]:
    """Arguments of ``selective_scan_2d`` with the size of a trained model's, fp32, the same on every device."""
    g = torch.Generator().manual_seed(seed)
    routes, channels, rank = shape.routes, shape.channels, math.ceil(shape.channels / 16)
    randn = functools.partial(torch.randn, generator=g)
    inputs = dict(
        x=randn(shape.batch, shape.height, shape.width, channels),
        x_proj_weight=randn(routes, rank + 2 * shape.d_state, channels) * channels**-0.5,
        dt_proj_weight=randn(routes, channels, rank) * rank**-0.5,
        dt_proj_bias=randn(routes, channels) - 2,
        A=-torch.rand(routes, channels, shape.d_state, generator=g) * shape.d_state - 0.1,
        D=randn(routes, channels),
    )
    tables = build_scan(SCANS[routes]).tables(shape.height, shape.width)
    return {name: tensor.to(device) for name, tensor in (inputs | dict(routes=tables)).items()}


def step_loop(
    x: Tensor,
    routes: Tensor,
    x_proj_weight: Tensor,
    dt_proj_weight: Tensor,
    dt_proj_bias: Tensor,
    A: Tensor,
    D: Tensor,
) -> Tensor:
    """The 2-D scan as a loop over the steps, each on all images, routes and channels at once.

    Arguments and result as in :func:`mmmamba.ops.selective_scan_2d`.
    """
    tokens = x.flatten(1, 2)  # (B, H, W, E) -> (B, L, E)
    count, d_state, order = len(routes), A.shape[2], routes.T  # (L, K)
    projected = F.linear(tokens, x_proj_weight.flatten(0, 1)).unflatten(2, (count, -1))  # (B, L, K, R + 2N)
    projected = projected[:, order, torch.arange(count, device=x.device)]
    low_rank, B, C = projected.split([dt_proj_weight.shape[2], d_state, d_state], dim=-1)
    dt = F.softplus(torch.einsum('blkr,ker->blke', low_rank, dt_proj_weight) + dt_proj_bias)
    u = tokens[:, order]  # (B, L, K, E)
    state, outputs = x.new_zeros(len(x), *A.shape), []
    for dt_t, u_t, B_t, C_t in zip(dt.unbind(1), u.unbind(1), B.unbind(1), C.unbind(1), strict=True):
        state = torch.exp(dt_t.unsqueeze(-1) * A) * state + (dt_t * u_t).unsqueeze(-1) * B_t.unsqueeze(2)
        outputs.append((state * C_t.unsqueeze(2)).sum(-1))
    y = torch.stack(outputs, dim=1) + D * u
    return torch.zeros_like(tokens).index_add(1, order.flatten(), y.flatten(1, 2)).view(x.shape)


def implementations(device: torch.device) -> dict[str, Callable[..., Tensor]]:
    """The step loop and every backend that serves the device, by name; not the fp64 specification."""
    found = {LOOP: step_loop}
    for name in BACKENDS:
        if name != 'reference' and _serves(name, device):
            found[name] = functools.partial(selective_scan_2d, backend=name)
    return found


def check(functions: dict[str, Callable[..., Tensor]], device: torch.device) -> dict[str, float]:
    """Compare output and gradients with the fp64 specification, on shapes with odd sizes.

    Args:
        functions: what ``implementations`` returns.
        device: where they run.

    Returns:
        The largest relative error of each.

    Raises:
        ArithmeticError: if one is above ``TOLERANCE``; a speed means nothing then.
    """
    worst = dict.fromkeys(functions, 0.0)
    for shape in GATE_SHAPES:
        inputs = make_inputs(shape, device)
        exact = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
        expected = _output_and_gradients(reference.selective_scan_2d, exact)
        for name, function in functions.items():
            found = _output_and_gradients(function, inputs)
            errors = [_relative_error(a, b) for a, b in zip(found, expected, strict=True)]
            worst[name] = max(worst[name], *errors)
    wrong = {name: error for name, error in worst.items() if not error <= TOLERANCE}
    if wrong:
        raise ArithmeticError(f'not timed: relative errors against the fp64 reference above {TOLERANCE}: {wrong}')
    return worst


def measure(
    functions: dict[str, Callable[..., Tensor]], shape: Shape, device: torch.device, rounds: int = 7
) -> list[Timing]:
    """Time every implementation at one shape.

    Args:
        functions: what ``implementations`` returns.
        shape: sizes of the call.
        device: where they run.
        rounds: how many times each runs after one run for warm-up.

    Returns:
        One timing per pass and implementation.
    """
    inputs = make_inputs(shape, device)
    timings = []
    for what in PASSES:
        run = _forward if what == 'forward' else _output_and_gradients
        samples = {name: [] for name in functions}
        for _ in range(rounds + 1):
            for name, function in functions.items():
                samples[name].append(_milliseconds(functools.partial(run, function, inputs), device))
        medians = {name: statistics.median(values[1:]) for name, values in samples.items()}
        timings += [Timing(str(shape), what, name, ms, medians[LOOP] / ms) for name, ms in medians.items()]
    return timings


def describe(device: torch.device) -> dict[str, str | int]:
    """The device and the versions that the figures belong to."""
    facts = dict(device=_device_name(device), torch=torch.__version__, python=platform.python_version())
    for package in ('numba', 'triton'):
        if _serves(package, device):
            facts[package] = __import__(package).__version__
    return facts | (dict(threads=torch.get_num_threads()) if device.type == 'cpu' else {})


def table(timings: list[Timing]) -> Iterator[str]:
    """The timings as lines of text."""
    yield f'{"B,K,E,HxW,N":>18}  {"pass":<17} {"":<10} {"ms":>9}  {"loop / it":>9}'
    for t in timings:
        yield f'{t.shape:>18}  {t.what:<17} {t.implementation:<10} {t.milliseconds:9.2f}  {t.speedup:8.1f}x'


def report(timings: list[Timing], errors: dict[str, float], device: torch.device) -> dict:
    """All of it for a file."""
    return dict(**describe(device), errors=errors, timings=[asdict(timing) for timing in timings])


def _serves(backend: str, device: torch.device) -> bool:
    if backend == 'triton' and device.type == 'cpu':
        return False  # its interpreter is for tests
    try:
        resolve_backend(backend, device)
    except (ValueError, ModuleNotFoundError):
        return False
    return True


def _forward(function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return function(**inputs)


def _output_and_gradients(function: Callable[..., Tensor], inputs: dict[str, Tensor]) -> list[Tensor]:
    leaves = {name: t.detach().requires_grad_() if t.is_floating_point() else t for name, t in inputs.items()}
    output = function(**leaves)
    wanted = [t for t in leaves.values() if t.requires_grad]
    # The gradient of the output varies over the map, so that no two pixels are interchangeable.
    dy = torch.linspace(-1, 1, output.numel(), device=output.device, dtype=output.dtype).view_as(output)
    return [output.detach(), *torch.autograd.grad(output, wanted, dy)]


def _relative_error(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).abs().max() / expected.abs().max()).item()


def _milliseconds(run: Callable[[], object], device: torch.device) -> float:
    _wait(device)
    start = time.perf_counter()
    run()
    _wait(device)
    return (time.perf_counter() - start) * 1e3


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _device_name(device: torch.device) -> str:
    if device.type == 'cuda':
        return torch.cuda.get_device_name(device)
    info = Path('/proc/cpuinfo')
    models = re.findall(r'model name\s*:\s*(.+)', info.read_text()) if info.is_file() else []
    return models[0] if models else platform.processor() or platform.machine()
