"""The same short training of one model with different scans: metric, throughput and memory of each."""

import copy
import multiprocessing
import resource
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmmamba.errors import UserError
from mmmamba.registry import RUNNERS
from mmmamba.scans import NAMED_SCANS, NAMED_SCHEDULES, SCAN_MODULES, ScanSpec, build_scan, route_names

WARM_UP = 3  # iterations whose time does not count: kernels compile, caches fill


def scans_over_maps() -> list[str]:
    """Names of all scans that a 2-D backbone takes."""
    sums = [name for name in NAMED_SCANS if build_scan(name).axes == 2]
    return [*sums, *NAMED_SCHEDULES, 'hierarchical', *SCAN_MODULES.module_dict]


def single_routes() -> list[str]:
    """Names of the base routes over maps, each a scan of its own."""
    return [name for name in route_names() if name != 'raster']  # that is 'unidirectional'


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        scan: as the command line names it.
        seed: of the weights, the data order and whatever training draws.
        metric: of the validation after the last iteration.
        images_per_second: training throughput, from the median time of an iteration without the data loading.
        cpu_ms_per_image: time of all the process's threads for one training image; steadier on a shared machine.
        peak_memory_mb: CUDA memory where there is a GPU, else what the process grew by.
        parameters: of the whole model.
    """

    scan: str
    seed: int
    metric: float
    images_per_second: float
    cpu_ms_per_image: float
    peak_memory_mb: float
    parameters: int


@dataclass(frozen=True)
class Summary:
    """All runs of one scan: means over the seeds, and the metric's standard deviation and range."""

    scan: str
    seeds: tuple[int, ...]
    metric_mean: float
    metric_std: float
    metric_min: float
    metric_max: float
    images_per_second: float
    cpu_ms_per_image: float
    peak_memory_mb: float
    parameters: int


def benchmark_scan(
    cfg: Config, scan: ScanSpec, *, name: str, seed: int, iterations: int, metric: str | None, work_dir: str
) -> Run:
    """Train a config's model with another scan, in a process of its own so that memory is its own too.

    Args:
        cfg: of a model whose ``backbone`` takes ``scan``; not changed.
        scan: what the backbone takes.
        name: how the result calls it.
        seed: of the run.
        iterations: the budget; learning rates warm up over a tenth of it and fall to 0 along a cosine.
        metric: name of the metric, as the evaluator gives it; None takes its first.
        work_dir: for logs.

    Raises:
        UserError: if the config, the data or the metric is at fault.
        RuntimeError: if the training fails otherwise.
    """
    cfg = short_run(cfg, scan, seed, iterations, work_dir)
    context = multiprocessing.get_context('spawn' if torch.cuda.is_available() else 'fork')
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_train, args=(cfg, metric, sender))
    process.start()
    sender.close()
    try:
        outcome = receiver.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f'training with the scan {name!r} ended with exit code {process.exitcode}') from None
    process.join()
    if isinstance(outcome, UserError):
        raise outcome
    if isinstance(outcome, BaseException):
        raise RuntimeError(f'training with the scan {name!r} failed: {outcome}') from outcome
    return Run(scan=name, seed=seed, **outcome)


def short_run(cfg: Config, scan: ScanSpec, seed: int, iterations: int, work_dir: str) -> Config:
    """The config with another scan and seed, trained for ``iterations`` and evaluated once, without saving."""
    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.scan = scan
    cfg.randomness = dict(seed=seed)
    cfg.work_dir = str(work_dir)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations, val_interval=iterations)
    warm_up = max(1, iterations // 10)
    cfg.param_scheduler = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=warm_up),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=warm_up, end=iterations, T_max=iterations - warm_up),
    ]
    # Averaged weights would still be half the initial ones.
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks', []) if not hook['type'].endswith('EMAHook')]
    cfg.merge_from_dict({'default_hooks.checkpoint': dict(type='CheckpointHook', interval=-1, save_last=False)})
    cfg.log_level = 'WARNING'
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.num_workers, loader.persistent_workers = 0, False  # the process's memory and time are all there is
    return cfg


def summarise(runs: Sequence[Run]) -> list[Summary]:
    """One summary for each scan, in the order of the runs."""
    summaries = []
    for scan in dict.fromkeys(run.scan for run in runs):
        own = [run for run in runs if run.scan == scan]
        metrics = [run.metric for run in own]
        summaries.append(
            Summary(
                scan=scan,
                seeds=tuple(run.seed for run in own),
                metric_mean=statistics.mean(metrics),
                metric_std=statistics.stdev(metrics) if len(metrics) > 1 else float('nan'),
                metric_min=min(metrics),
                metric_max=max(metrics),
                images_per_second=statistics.mean(run.images_per_second for run in own),
                cpu_ms_per_image=statistics.mean(run.cpu_ms_per_image for run in own),
                peak_memory_mb=max(run.peak_memory_mb for run in own),
                parameters=own[0].parameters,
            )
        )
    return summaries


def table(summaries: Sequence[Summary]) -> str:
    """Markdown, the highest mean first."""
    lines = [
        '| scan | metric, mean ± std | min - max | train img/s | CPU ms / img | peak MB | parameters |',
        '|---|---|---|---|---|---|---|',
    ]
    for s in sorted(summaries, key=lambda s: -s.metric_mean):
        metric, spread = f'{s.metric_mean:.1f} ± {s.metric_std:.1f}', f'{s.metric_min:.1f} - {s.metric_max:.1f}'
        cost = f'{s.images_per_second:.0f} | {s.cpu_ms_per_image:.1f} | {s.peak_memory_mb:.0f} | {s.parameters:,}'
        lines.append(f'| `{s.scan}` | {metric} | {spread} | {cost} |')
    return '\n'.join(lines)


def spread(summaries: Sequence[Summary]) -> str:
    """How far the scans lie apart, beside how far the seeds alone would put them."""
    if len(summaries) < 2 or min(len(s.seeds) for s in summaries) < 2:
        return 'One seed or one scan: there is no spread to judge a difference by.'
    seeds = min(len(s.seeds) for s in summaries)
    within = statistics.mean(s.metric_std**2 for s in summaries) ** 0.5
    between = statistics.stdev(s.metric_mean for s in summaries)
    return (
        f'Standard deviation between the seeds of one scan {within:.1f}, between the means of the scans {between:.1f}; '
        f'means of {seeds} seeds of the same model would differ by {within / seeds**0.5:.1f}.'
    )


def to_json(runs: Sequence[Run], settings: dict) -> dict:
    """Everything measured, for machines."""
    return dict(
        settings=settings,
        summaries=[asdict(summary) for summary in summarise(runs)],
        runs=[asdict(run) for run in runs],
    )


def plot(runs: Sequence[Run], file: str | Path) -> None:
    """Metric of every run, with each scan's mean, against the cost of a training image."""
    from matplotlib.figure import Figure

    summaries = sorted(summarise(runs), key=lambda s: s.metric_mean)
    figure = Figure(figsize=(11, 1.5 + 0.3 * len(summaries)), layout='constrained')
    by_metric, by_cost = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for row, summary in enumerate(summaries):
        metrics = [run.metric for run in runs if run.scan == summary.scan]
        by_metric.plot(metrics, [row] * len(metrics), 'o', color='tab:blue', alpha=0.5, markersize=5)
        by_metric.plot(summary.metric_mean, row, '|', color='black', markersize=14, markeredgewidth=2)
        by_cost.barh(row, summary.cpu_ms_per_image, color='tab:gray')
    by_metric.set_yticks(range(len(summaries)), [s.scan for s in summaries], fontsize=8)
    by_metric.set_xlabel(f'metric of each of {len(summaries[0].seeds)} seeds (dots) and their mean (bar)')
    by_cost.set_xlabel('CPU ms for one training image')
    for axes in (by_metric, by_cost):
        axes.grid(axis='x', alpha=0.3)
    figure.savefig(file, dpi=110)


class _Timer(Hook):
    """Wall and CPU time of every iteration, without loading its batch."""

    def __init__(self) -> None:
        self.wall, self.cpu = [], []

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        self._began = (time.perf_counter(), time.process_time())

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.wall.append(time.perf_counter() - self._began[0])
        self.cpu.append(time.process_time() - self._began[1])


def _train(cfg: Config, metric: str | None, sender) -> None:
    try:
        sender.send(_measure(cfg, metric))
    except UserError as error:
        sender.send(error)
    except Exception as error:  # the parent tells the user: a process cannot raise into another
        sender.send(RuntimeError(f'{type(error).__name__}: {error}'))
    finally:
        sender.close()


def _measure(cfg: Config, metric: str | None) -> dict:
    runner = RUNNERS.get('Runner').from_cfg(cfg)
    timer, before = _Timer(), _memory_mb()
    runner.register_hook(timer, priority='LOWEST')
    runner.train()
    memory = _peak_memory_mb() - before
    metrics = {
        name.removeprefix('val/'): buffer.current()
        for name, buffer in runner.message_hub.log_scalars.items()
        if name.startswith('val/') and not name.endswith('time')
    }
    if not metrics or (metric is not None and metric not in metrics):
        raise UserError(f'the evaluation gives no metric {metric!r}, but {sorted(metrics)}')
    batch = cfg.train_dataloader.batch_size
    counted = slice(WARM_UP if len(timer.wall) > WARM_UP else 0, None)
    return dict(
        metric=float(metrics[metric] if metric else next(iter(metrics.values()))),
        images_per_second=batch / statistics.median(timer.wall[counted]),
        cpu_ms_per_image=1000 * statistics.median(timer.cpu[counted]) / batch,
        peak_memory_mb=memory,
        parameters=sum(p.numel() for p in runner.model.parameters()),
    )


def _memory_mb() -> float:
    return 0.0 if torch.cuda.is_available() else _peak_memory_mb()


def _peak_memory_mb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # kB on Linux
