"""Curves and times from the logs that mmengine writes: ``WORK_DIR/TIME/vis_data/scalars.json``, one record a line."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from mmmamba.errors import UserError

NOT_CURVES = ('epoch', 'iter', 'step')


def find_log(path: str | Path) -> Path:
    """The log that a path means: itself, or of a work directory the newest.

    Raises:
        UserError: if there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    logs = sorted(path.rglob('vis_data/*.json'), key=lambda log: log.stat().st_mtime) if path.is_dir() else []
    logs = [log for log in logs if log.stem not in ('config',)]
    if not logs:
        raise UserError(f'no log at {str(path)!r}; give a work directory or its TIME/vis_data/scalars.json')
    return logs[-1]


def load_log(path: str | Path) -> dict[str, list[dict]]:
    """Read a log.

    Args:
        path: as ``find_log`` takes it.

    Returns:
        Records of ``'train'``, which name an ``iter``, and of ``'val'``, which only name a ``step``: the epoch, or the
        iteration where training counts those. A line cut off by a crash is passed over.

    Raises:
        UserError: if there is no log, or no record in it.
    """
    log = find_log(path)
    records = {'train': [], 'val': []}
    for line in log.read_text().splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict) and 'step' in record:
            records['train' if 'iter' in record else 'val'].append(record)
    if not any(records.values()):
        raise UserError(f'{str(log)!r} holds no record of mmengine, one JSON object with "step" a line')
    return records


def curve(records: dict[str, list[dict]], key: str, origin: str, start: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Values of one key over the iterations, or the steps of evaluation.

    Args:
        records: of ``load_log``.
        key: ``'loss'``, ``'lr'``, ``'coco/bbox_mAP'``; the part behind the last ``/`` will do.
        origin: the file, for the message.
        start: first epoch of interest.

    Returns:
        Two arrays of one length.

    Raises:
        UserError: if no record has the key.
    """
    for kind, axis in (('train', 'step'), ('val', 'step')):
        names = {name for record in records[kind] for name in record}
        name = key if key in names else next((n for n in sorted(names) if n.split('/')[-1] == key), None)
        if name is not None and name not in NOT_CURVES:
            points = [(r[axis], r[name]) for r in records[kind] if name in r and r.get('epoch', start) >= start]
            return tuple(np.array(points, dtype=float).reshape(-1, 2).T)
    known = sorted({name for kind in records.values() for record in kind for name in record} - set(NOT_CURVES))
    raise UserError(f'{origin!r} has no key {key!r}; it has {", ".join(known)}')


def smoothed(values: np.ndarray, window: int) -> np.ndarray:
    """The mean of each value and those before it, ``window`` in all, of fewer at the start."""
    sums = np.cumsum(np.insert(values, 0, 0.0))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - window, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def plot_curves(
    logs: Sequence[str],
    keys: Sequence[str],
    *,
    legend: Sequence[str] | None = None,
    title: str | None = None,
    window: int = 1,
    start_epoch: int = 1,
) -> Figure:
    """One figure with a curve for each log and key.

    Args:
        logs: files or work directories.
        keys: what to draw of each.
        legend: a name for each curve, those of the first log first; None makes them from log and key.
        title: of the figure.
        window: number of values to average.
        start_epoch: what lies before it is left out.

    Raises:
        UserError: if a log or key is not there, or the legend has another length.
    """
    names = legend or [f'{Path(log).parts[-1]} {key}' if len(logs) > 1 else key for log in logs for key in keys]
    if len(names) != len(logs) * len(keys):
        raise UserError(f'--legend has {len(names)} names for {len(logs)} logs x {len(keys)} keys')
    figure = Figure((8, 5), dpi=120, layout='constrained')
    axes = figure.subplots()
    for i, log in enumerate(logs):
        records = load_log(log)
        for j, key in enumerate(keys):
            steps, values = curve(records, key, str(log), start_epoch)
            marker = 'o' if len(steps) < 30 else None
            axes.plot(steps, smoothed(values, window), label=names[i * len(keys) + j], marker=marker, linewidth=1)
    axes.set(xlabel='step', title=title or '')
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def train_time(path: str | Path, *, include_outliers: bool = False) -> dict[str, float]:
    """Seconds an iteration.

    Args:
        path: as ``find_log`` takes it.
        include_outliers: count the first record of each epoch, which waits for the data.

    Returns:
        ``mean``, ``std`` between epochs, and of the ``slowest`` and ``fastest`` epoch its mean.

    Raises:
        UserError: if the log has no times.
    """
    epochs: dict[int, list[float]] = {}
    for record in load_log(path)['train']:
        if 'time' in record:
            epochs.setdefault(record.get('epoch', 1), []).append(record['time'])
    if not epochs:
        raise UserError(f'{str(path)!r} has no times of training iterations')
    if not include_outliers:
        epochs = {epoch: times[1:] or times for epoch, times in epochs.items()}
    means = np.array([np.mean(times) for times in epochs.values()])
    every = [time for times in epochs.values() for time in times]
    return dict(
        mean=float(np.mean(every)), std=float(means.std()), slowest=float(means.max()), fastest=float(means.min())
    )
