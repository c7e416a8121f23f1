"""Training and evaluation from a config: what ``tools/train.py`` and ``tools/test.py`` call."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import mmengine
from mmengine.config import Config
from mmengine.evaluator import DumpResults
from mmengine.registry import RUNNERS
from mmengine.runner import Runner as MMEngineRunner
from torch import distributed

from mmmamba.engine.config import draw_predictions, enable_amp, enable_auto_scale_lr, enable_tta, load_config
from mmmamba.engine.data_paths import check_data_paths
from mmmamba.engine.runner import Runner
from mmmamba.errors import UserError


def train(
    config: str,
    *,
    work_dir: str | None = None,
    amp: bool = False,
    resume: str | None = None,
    auto_scale_lr: bool = False,
    options: dict | None = None,
    launcher: str = 'none',
) -> None:
    """Train a model.

    Args:
        config: path of a config of mmdet, mmseg or mmpretrain.
        work_dir: for logs and checkpoints; None takes the config's, or ``work_dirs/`` with the config's name.
        amp: mixed precision.
        resume: ``'auto'`` for the latest checkpoint in the work directory, or the path of one.
        auto_scale_lr: scale the learning rate with the batch size.
        options: config entries to override, by dotted name.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Raises:
        UserError: if the config, the data or an option is at fault.
        CheckpointError: if a checkpoint cannot be read or does not fit.
    """
    cfg = _prepare(config, work_dir, options, launcher)
    if amp:
        enable_amp(cfg)
    if auto_scale_lr:
        enable_auto_scale_lr(cfg)
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume
    check_data_paths(cfg, ('train_dataloader', 'val_dataloader'))
    with _leaving_the_process_group(launcher):
        _build_runner(cfg).train()


def evaluate(
    config: str,
    checkpoint: str,
    *,
    work_dir: str | None = None,
    out: str | None = None,
    show_dir: str | None = None,
    tta: bool = False,
    options: dict | None = None,
    launcher: str = 'none',
) -> dict[str, float]:
    """Evaluate a model.

    Args:
        config: path of a config of mmdet, mmseg or mmpretrain.
        checkpoint: path or address of a checkpoint, the authors' layout or ours; or a work directory, whose latest
            one is taken.
        work_dir: for logs; None takes the config's, or ``work_dirs/`` with the config's name.
        out: ``*.json`` for the metrics; ``*.pkl`` for the predictions of a detector or classifier, or a folder for
            the label maps of a segmentor.
        show_dir: folder for pictures of the predictions.
        tta: test-time augmentation.
        options: config entries to override, by dotted name.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        The metrics by name.

    Raises:
        UserError: if the config, the data or an option is at fault.
        CheckpointError: if the checkpoint cannot be read or does not fit.
    """
    cfg = _prepare(config, work_dir, options, launcher)
    cfg.load_from = checkpoint
    if tta:
        enable_tta(cfg)
    if show_dir is not None:
        draw_predictions(cfg, show_dir)
    check_data_paths(cfg, ('test_dataloader',))
    wants_predictions = out is not None and not out.endswith('.json')
    if wants_predictions and cfg.default_scope == 'mmseg':
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        evaluators[0].update(output_dir=out, keep_results=True)
    elif out is not None and not out.endswith(('.json', '.pkl', '.pickle')):
        raise UserError(f'--out {out!r} must end in .json (metrics) or .pkl (predictions)')
    if out is not None:  # now, not after the evaluation, if it cannot be
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    with _leaving_the_process_group(launcher):
        runner = _build_runner(cfg)
        if wants_predictions and cfg.default_scope != 'mmseg':
            runner.test_evaluator.metrics.append(_dump_metric(cfg)(out_file_path=out))
        metrics = runner.test()
    if out is not None and not wants_predictions and runner.rank == 0:
        mmengine.dump(metrics, out)
    return metrics


def _prepare(config: str, work_dir: str | None, options: dict | None, launcher: str) -> Config:
    if launcher == 'pytorch' and 'RANK' not in os.environ:
        raise UserError(
            '--launcher pytorch is for processes that torchrun has started; run tools/dist_train.sh or '
            'tools/dist_test.sh, which call it, or leave --launcher out'
        )
    cfg = load_config(config, options)
    if work_dir is not None:
        cfg.work_dir = work_dir
    cfg.launcher = launcher
    return cfg


@contextmanager
def _leaving_the_process_group(launcher: str) -> Iterator[None]:
    """Leave the group that the launcher opened; not after an error, when other ranks may still wait for this one.

    A process that ends while gloo's threads run is aborted at times ("terminate called without an active exception").
    """
    failed = False
    try:
        yield
    except Exception:
        failed = True
        raise
    finally:  # on SIGTERM as well, where all ranks exit together
        if launcher != 'none' and not failed and distributed.is_initialized():
            distributed.destroy_process_group()


def _build_runner(cfg: Config) -> MMEngineRunner:
    return RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)


def _dump_metric(cfg: Config) -> type[DumpResults]:
    if cfg.default_scope == 'mmdet':  # packs masks as RLE
        from mmdet.evaluation import DumpDetResults

        return DumpDetResults
    return DumpResults
