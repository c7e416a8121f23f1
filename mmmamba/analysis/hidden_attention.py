"""The attention matrices that selective scans imply: ``y_i = sum_j alpha_ij u_j + D u_i``, exactly.

``alpha_ij = sum_n C_in exp(A_n (S_i - S_j)) dt_j B_jn`` for each channel and every step j up to i, with S the
cumulative sum of the steps ``dt``. The exponent is never positive, so nothing overflows. Steps are those of a route; in
pixels the matrices of several routes add up. A matrix for each channel is too much to keep, so they come in chunks.

Source: Ali, Zimerman and Wolf, "The Hidden Attention of Mamba Models" (2024), equations 10 to 13.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from mmmamba.layers import MapMambaMixer
from mmmamba.ops import use_backend

CHUNK = 2**20  # fp64 values of the largest intermediate: 8 MiB, faster than 64 (2 cores, 2026-11-26)


@dataclass
class ScanRecord:
    """What one selective scan computed, in fp64.

    Args:
        path: names of the modules that were running, outermost first.
        module: the innermost of them.
        routes: (K, T) int64, the token of each step.
        u: (B, L, K, E), the inputs.
        delta: (B, L, K, E), the steps, positive.
        A: (K, E, N).
        B: (B, L, K, N).
        C: (B, L, K, N).
        D: (K, E).
        y: what the op returned: (B, L, E), the routes summed, or (B, L, K * E).
        summed: which of the two.
        grid: rows and columns of the map whose pixels the tokens are, if the module was given a map.
        output: what the module returned, part of the graph, if gradients are on.
    """

    path: list[str]
    module: nn.Module
    routes: Tensor
    u: Tensor
    delta: Tensor
    A: Tensor
    B: Tensor
    C: Tensor
    D: Tensor
    y: Tensor
    summed: bool
    grid: tuple[int, int] | None = None
    output: Tensor | None = None

    @property
    def tokens(self) -> int:
        """L."""
        return self.u.shape[1]

    def reordered(self, order: Tensor) -> 'ScanRecord':
        """For a sequence that was a map read in ``order``, (L,): the record in the pixels of the map."""
        back = order.argsort()
        tokens = {name: getattr(self, name)[:, back] for name in ('u', 'delta', 'B', 'C', 'y')}
        return ScanRecord(**{**vars(self), **tokens, 'routes': order[self.routes]})


def record_scans(model: nn.Module, run: Callable[[], object]) -> tuple[list[ScanRecord], object]:
    """Every selective scan that runs while ``run`` does, and what ``run`` returned.

    Args:
        model: whose modules are told apart.
        run: a forward pass; with gradients on, the outputs of the scanning modules keep theirs.
    """
    recorder = _Recorder(model)
    with recorder.hooks(), use_backend('torch'), recorder:
        result = run()
    return recorder.records, result


def attention(record: ScanRecord, rows: Tensor | None = None) -> Tensor:
    """The matrix of a scan, mean over the channels, in tokens.

    Args:
        record: of ``record_scans``.
        rows: (R,) int64, the queries wanted; None is all.

    Returns:
        (B, R, L) fp64. Signed; rows do not sum to 1.
    """
    rows = torch.arange(record.tokens) if rows is None else rows
    out = record.u.new_zeros(len(record.u), len(rows), record.tokens)
    for k in range(len(record.routes)):
        for chunk, alpha in row_chunks(record, k, rows):
            out[:, chunk[:, None], record.routes[k]] += alpha.mean(-1)
    return out if record.summed else out / len(record.routes)


def channel_matrices(record: ScanRecord) -> Iterator[Tensor]:
    """All of the matrices of a scan, (B, L, L, e) for a few channels at a time, routes that are summed summed."""
    channels = record.u.shape[3]
    size = max(1, CHUNK // (len(record.u) * record.tokens**2))
    everything = torch.arange(record.tokens)
    for start in range(0, channels, size):
        part = slice(start, min(start + size, channels))
        matrices = []
        for k in range(len(record.routes)):
            out = record.u.new_zeros(len(record.u), record.tokens, record.tokens, part.stop - part.start)
            for chunk, alpha in row_chunks(record, k, everything, part):
                out[:, chunk[:, None], record.routes[k]] = alpha
            matrices.append(out)
        yield from [sum(matrices)] if record.summed else matrices


def row_chunks(
    record: ScanRecord, k: int, rows: Tensor, channels: slice = slice(None)
) -> Iterator[tuple[Tensor, Tensor]]:
    """The matrices of one route, some rows at a time.

    Args:
        record: of ``record_scans``.
        k: the route.
        rows: (R,) int64, tokens.
        channels: which.

    Yields:
        (r,) places in ``rows`` of those that the route visits, and (B, r, T, e), a column for each step of the route.
    """
    route = record.routes[k]
    step_of = torch.full((record.tokens,), -1)
    step_of[route] = torch.arange(len(route))
    delta, A = record.delta[:, route, k, channels], record.A[k, channels]  # (B, T, e), (e, N)
    B, C = record.B[:, route, k], record.C[:, route, k]  # (B, T, N)
    total = delta.cumsum(1)
    visited = (step_of[rows] >= 0).nonzero()[:, 0]
    size = max(1, CHUNK // (total.numel() * A.shape[1]))
    for chunk in visited.split(size):
        i = step_of[rows[chunk]]
        passed = (total[:, i, None] - total[:, None]).clamp(min=0)  # (B, r, T, e); later steps are masked below
        decay = torch.exp(passed[..., None] * A)  # (B, r, T, e, N)
        weight = C[:, i, None] * B[:, None]  # (B, r, T, N)
        alpha = torch.einsum('brten,brtn->brte', decay, weight) * delta[:, None]
        later = torch.arange(len(route)) > i[:, None]  # (r, T)
        yield chunk, alpha.masked_fill(later[None, :, :, None], 0)


def reconstruct(record: ScanRecord, rows: Tensor | None = None) -> Tensor:
    """What the matrices say the scan returns: ``alpha u + D u``.

    Args:
        record: of ``record_scans``.
        rows: (R,) int64, the tokens wanted; None is all.

    Returns:
        (B, R, E) or (B, R, K * E), as ``record.y``.
    """
    rows = torch.arange(record.tokens) if rows is None else rows
    outs = []
    for k in range(len(record.routes)):
        out = record.u.new_zeros(len(record.u), len(rows), record.u.shape[3])
        along = record.u[:, record.routes[k], k]
        for chunk, alpha in row_chunks(record, k, rows):
            skipped = record.D[k] * record.u[:, rows[chunk], k]
            out[:, chunk] = torch.einsum('brte,bte->bre', alpha, along) + skipped
        outs.append(out)
    return sum(outs) if record.summed else torch.cat(outs, dim=-1)


def reconstruction_error(record: ScanRecord, rows: Tensor | None = None) -> float:
    """Largest difference of ``reconstruct`` to what the model computed, over the largest value of that."""
    expected = record.y if rows is None else record.y[:, rows]
    return float((reconstruct(record, rows) - expected).abs().max() / record.y.abs().max().clamp(min=1e-30))


class _Recorder(TorchDispatchMode):
    """Keeps the arguments of the two ops that every backend but Triton's goes through."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.modules = dict(model.named_modules())
        self.stack: list[str] = []
        self.grids: list[tuple[int, int] | None] = []
        self.records: list[ScanRecord] = []

    def hooks(self) -> '_Hooks':
        return _Hooks(self)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is torch.ops.mmmamba.selective_scan_2d.default:
            self._add(_from_2d(args, out))
        elif func is torch.ops.mmmamba.selective_scan.default:
            self._add(_from_1d(args, out))
        return out

    def _add(self, values: dict) -> None:
        record = ScanRecord(path=list(self.stack), module=self.modules[self.stack[-1]], **values)
        record.grid = self.grids[-1]
        for name, grid in zip(self.stack, self.grids, strict=True):
            mixer = self.modules[name]
            if isinstance(mixer, MapMambaMixer):  # its tokens are the pixels in the order of its route
                record = record.reordered(mixer.scan.tables(*grid, device='cpu')[0])
                record.grid = grid
        self.records.append(record)


class _Hooks:
    """While open, the recorder knows which modules run, what maps they were given, and what they returned."""

    def __init__(self, recorder: _Recorder) -> None:
        self.recorder, self.handles = recorder, []

    def __enter__(self) -> None:
        for name, module in self.recorder.modules.items():
            self.handles.append(
                module.register_forward_pre_hook(lambda _, inputs, name=name: self._start(name, inputs))
            )
            self.handles.append(module.register_forward_hook(lambda _, __, out, name=name: self._stop(name, out)))

    def __exit__(self, *_) -> None:
        for handle in self.handles:
            handle.remove()

    def _start(self, name: str, inputs: tuple) -> None:
        x = inputs[0] if inputs else None
        is_map = isinstance(x, Tensor) and x.dim() == 4
        self.recorder.stack.append(name)
        self.recorder.grids.append(tuple(x.shape[1:3]) if is_map else None)

    def _stop(self, name: str, out: object) -> None:
        self.recorder.stack.pop()
        self.recorder.grids.pop()
        for record in self.recorder.records:
            if record.path[-1] == name and record.output is None and isinstance(out, Tensor):
                record.output = out
                if out.requires_grad:
                    out.retain_grad()


def _from_2d(args: tuple, out: Tensor) -> dict:
    tokens, projected, routes, dt_proj_weight, dt_proj_bias, A, D = (t.detach().cpu() for t in args[:7])
    tokens, projected, A, D = tokens.double(), projected.double(), A.double(), D.double()
    low_rank, B, C = projected.split([dt_proj_weight.shape[2], A.shape[2], A.shape[2]], dim=-1)
    delta = torch.einsum('blkr,ker->blke', low_rank, dt_proj_weight.double()) + dt_proj_bias.double()
    u = tokens.unflatten(2, (-1, A.shape[1])).expand_as(delta)
    y = out.detach().cpu().double()
    if y.dim() == 4:  # (K, B, L, E) -> (B, L, K * E)
        y = y.movedim(0, 2).flatten(2)
    summed = y.shape[2] == A.shape[1]
    return dict(routes=routes, u=u, delta=F.softplus(delta), A=A, B=B, C=C, D=D, y=y, summed=summed)


def _from_1d(args: tuple, out: Tensor) -> dict:
    u, delta, A, B, C, D, bias = (None if t is None else t.detach().cpu().double() for t in args[:7])
    softplus, reverse = args[7:9]
    groups = B.shape[2]
    delta = delta if bias is None else delta + bias
    D = u.new_zeros(u.shape[2]) if D is None else D
    steps = torch.arange(u.shape[1])
    split = dict(u=u, delta=F.softplus(delta) if softplus else delta)
    return dict(
        {name: value.unflatten(2, (groups, -1)) for name, value in split.items()},
        routes=(steps.flip(0) if reverse else steps).expand(groups, -1),
        A=A.unflatten(0, (groups, -1)),
        B=B,
        C=C,
        D=D.unflatten(0, (groups, -1)),
        y=out.detach().cpu().double(),
        summed=False,
    )
