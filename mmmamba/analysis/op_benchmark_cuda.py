"""Time the Triton scans on a CUDA device beside the bytes they must move, and beside the authors' kernels as recorded.

All times are medians of CUDA-graph replays in bf16: what the device needs, without the host.
"""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from mmmamba.analysis.op_benchmark import Shape, describe, make_inputs
from mmmamba.ops import selective_scan, selective_scan_2d

BYTES = 2  # of a bf16 value


@dataclass(frozen=True)
class Case:
    """A scan to time.

    Args:
        name: what it is.
        shape: for ``selective_scan``, ``height * width`` is the length and each route a group of its own channels.
        two_d: whether it is ``selective_scan_2d``, projections and sum over routes included.
        recorded: milliseconds of the authors' CUDA code, forward and the second pass, on one H200 (docs/kernels.md).
    """

    name: str
    shape: Shape
    two_d: bool
    recorded: tuple[float, float]

    @property
    def passes(self) -> tuple[str, str]:
        """What the two times are of."""
        return ('forward', 'forward+backward') if self.two_d else ('forward', 'backward')


CASES = (
    Case('SS2D core, stage 1 of VMamba-T', Shape(128, 4, 96, 56, 56, 1), True, (3.18, 8.77)),
    Case('SS2D core, stage 2', Shape(128, 4, 192, 28, 28, 1), True, (1.37, 4.11)),
    Case('SS2D core, stage 3', Shape(128, 4, 384, 14, 14, 1), True, (0.73, 2.32)),
    Case('SS2D core, stage 4', Shape(128, 4, 768, 7, 7, 1), True, (0.68, 2.01)),
    Case('scan, d_state 1', Shape(128, 4, 96, 56, 56, 1), False, (1.07, 2.57)),
    Case('scan, long, d_state 1', Shape(2, 4, 96, 240, 280, 1), False, (0.31, 0.75)),
    Case('scan, d_state 16', Shape(128, 4, 96, 56, 56, 16), False, (5.98, 21.5)),
    Case('scan, long, d_state 16', Shape(2, 4, 96, 240, 280, 16), False, (1.70, 5.33)),
    Case('scan of Vim-S', Shape(64, 1, 384, 1, 197, 16), False, (0.198, 0.574)),
    Case('scan of Vim-S, 4097 tokens', Shape(8, 1, 384, 1, 4097, 16), False, (0.53, 1.56)),
)


@dataclass(frozen=True)
class Row:
    """One line of the table; ``mamba_ssm`` is None where that package is not installed or does not take the case."""

    case: str
    shape: str
    what: str
    milliseconds: float
    floor: float
    recorded: float
    mamba_ssm: float | None


def measure(cases: tuple[Case, ...], rounds: int) -> Iterator[Row]:
    """Time each case.

    Args:
        cases: such as ``CASES``.
        rounds: replays of each graph, of which the median counts.

    Yields:
        Two rows for each case.
    """
    bandwidth = copy_bandwidth()
    for case in cases:
        run, leaves, dy = _two_d(case.shape) if case.two_d else _one_d(case.shape, selective_scan)
        forward, both = _times(run, leaves, dy, rounds)
        other = (None, None)
        if not case.two_d and find_spec('mamba_ssm') is not None:
            other = _times(*_one_d(case.shape, _mamba_ssm), rounds)
        floors = [size / bandwidth * 1e3 for size in _bytes(case)]
        for i, what in enumerate(case.passes):
            ours = (forward, both if case.two_d else both - forward)[i]
            theirs = None if other[0] is None else (other[0], other[1] - other[0])[i]
            yield Row(case.name, str(case.shape), what, ours, floors[i], case.recorded[i], theirs)


HEADER = """\
| case | B,K,E,HxW,N | pass | ms | bytes floor, ms | authors, recorded on an H200, ms | ratio | mamba_ssm |
|---|---|---|---|---|---|---|---|"""


def line(row: Row) -> str:
    """A row under ``HEADER``, a table in Markdown. The recorded column is not measured in this run."""
    other = '-' if row.mamba_ssm is None else f'{row.mamba_ssm:.3f}'
    return (
        f'| {row.case} | {row.shape} | {row.what} | {row.milliseconds:.3f} | {row.floor:.3f} | {row.recorded:.3f} | '
        f'{row.recorded / row.milliseconds:.1f} | {other} |'
    )


def report(rows: list[Row], device: torch.device) -> dict:
    """All of it for a file."""
    return dict(**describe(device), rows=[asdict(row) for row in rows])


def copy_bandwidth() -> float:
    """Bytes per second that a copy of 1 GiB reads and writes."""
    source = torch.empty(2**28, device='cuda')
    target = torch.empty_like(source)
    return 2 * source.numel() * source.element_size() / (replay_milliseconds(lambda: target.copy_(source), 10) / 1e3)


def replay_milliseconds(run: Callable[[], object], rounds: int) -> float:
    """Median time of a replay of what ``run`` launches.

    Args:
        run: without arguments; runs a few times before its launches are captured in a CUDA graph.
        rounds: replays.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for _ in range(rounds + 3):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times[3:])


def _times(run: Callable[[], Tensor], leaves: list[Tensor], dy: Tensor, rounds: int) -> tuple[float, float]:
    """Milliseconds of the forward pass without gradients, and of forward and backward."""

    def forward() -> Tensor:
        with torch.no_grad():
            return run()

    return (
        replay_milliseconds(forward, rounds),
        replay_milliseconds(lambda: torch.autograd.grad(run(), leaves, dy), rounds),
    )


def _two_d(shape: Shape) -> tuple[Callable[[], Tensor], list[Tensor], Tensor]:
    inputs = make_inputs(shape, torch.device('cuda'))
    inputs['x'] = inputs['x'].bfloat16()
    leaves = [t.requires_grad_() for t in inputs.values() if t.is_floating_point()]
    return lambda: selective_scan_2d(**inputs), leaves, torch.randn_like(inputs['x'])


def _one_d(shape: Shape, scan: Callable[..., Tensor]) -> tuple[Callable[[], Tensor], list[Tensor], Tensor]:
    """Arguments in our layout, (B, L, D), D of all groups."""
    g = torch.Generator('cuda').manual_seed(0)
    batch, length, groups = shape.batch, shape.height * shape.width, shape.routes
    channels = groups * shape.channels

    def randn(*size: int) -> Tensor:
        return torch.randn(*size, generator=g, device='cuda')

    maps = [randn(batch, length, channels), 0.1 * randn(batch, length, channels)]
    maps += [randn(batch, length, groups, shape.d_state) for _ in range(2)]
    u, delta, B, C = (t.bfloat16().requires_grad_() for t in maps)
    A = (-torch.rand(channels, shape.d_state, generator=g, device='cuda') - 0.1).requires_grad_()
    D, bias = (randn(channels).requires_grad_() for _ in range(2))
    leaves = [u, delta, A, B, C, D, bias]
    return lambda: scan(u, delta, A, B, C, D, delta_bias=bias, delta_softplus=True), leaves, torch.randn_like(u)


def _mamba_ssm(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, **options) -> Tensor:
    """mamba_ssm's CUDA kernel, whose layout is (B, D, L): views, which it copies if it has to."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    B, C = (t.permute(0, 2, 3, 1) for t in (B, C))
    return selective_scan_fn(u.mT, delta.mT, A, B, C, D, **options).mT


def _bytes(case: Case) -> tuple[int, int]:
    """Bytes that the two passes must move, each input once and each output once."""
    shape = case.shape
    pixels = shape.batch * shape.height * shape.width
    if case.two_d:
        rank = -(-shape.channels // 16)
        one, projected = pixels * shape.channels * BYTES, pixels * shape.routes * (rank + 2 * shape.d_state) * BYTES
        forward = 2 * one + 2 * projected
        return forward, forward + 3 * one + 3 * projected
    one = pixels * shape.routes * shape.channels * BYTES
    states = 2 * pixels * shape.routes * shape.d_state * BYTES
    return 3 * one + states, 5 * one + 2 * states
