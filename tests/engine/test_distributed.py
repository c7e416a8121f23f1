"""Several processes on CPUs, with gloo."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from mmmamba.engine import train
from mmmamba.engine.sync_batch_norm import synchronise_on_cpu

TOOLS = Path(__file__).parents[2] / 'tools'
# What a rank draws by itself must not differ: no random flips, no stochastic depth. Batch norm is over all ranks.
SAME_DRAWS = [
    'model.backbone.drop_path_rate=0',
    'train_dataloader.dataset.pipeline.1.prob=0.0',
    'train_cfg.max_epochs=1',
    'model.backbone.arch.norm="BN"',
    'sync_bn="torch"',
]


def _scalars(work_dir: Path) -> list[dict]:
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in path.read_text().splitlines()]


def _free_port() -> str:
    import socket

    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


def _dist_train(config: str, *flags: str, processes: int = 2) -> None:
    environment = {**os.environ, 'PYTHON': str(Path(os.sys.executable)), 'PORT': _free_port(), 'OMP_NUM_THREADS': '1'}
    run = subprocess.run(
        [str(TOOLS / 'dist_train.sh'), config, str(processes), *flags],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]


def test_two_processes_give_the_losses_of_one(config, tmp_path):
    options = {key: eval(value) for key, value in (option.split('=') for option in SAME_DRAWS)}
    train(config, work_dir=str(tmp_path / 'one'), options=options)
    _dist_train(
        config, '--work-dir', str(tmp_path / 'two'), '--cfg-options', *SAME_DRAWS, 'train_dataloader.batch_size=3'
    )
    one, two = _scalars(tmp_path / 'one'), _scalars(tmp_path / 'two')
    assert len(one) == len(two)
    for expected, found in zip(one[:4], two[:4], strict=True):
        assert found['loss'] == pytest.approx(expected['loss'], rel=1e-5)


def test_slurm_without_a_gpu_is_refused_in_one_line(config, monkeypatch):
    from mmmamba.engine import UserError

    with pytest.raises(UserError, match='--launcher slurm needs a GPU'):
        train(config, launcher='slurm')


def _normalise(rank: int, batches: torch.Tensor, port: str, results) -> None:
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
    dist.init_process_group('gloo', rank=rank, world_size=len(batches))
    layer = synchronise_on_cpu(nn.SyncBatchNorm(batches.shape[2]).double())
    x = batches[rank].clone().requires_grad_()
    y = layer(x)
    (y * torch.arange(y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    results[rank] = [t.detach() for t in (y, x.grad, layer.running_mean, layer.running_var, layer.weight.grad)]
    dist.destroy_process_group()


def test_sync_batch_norm_on_cpus_is_batch_norm_over_the_global_batch():
    batches = torch.randn(2, 3, 4, 5, 7, dtype=torch.float64)
    with mp.Manager() as manager:
        results = manager.dict()
        mp.spawn(_normalise, args=(batches, _free_port(), results), nprocs=2)
        (y0, dx0, mean, var, dw0), (y1, dx1, *_, dw1) = results[0], results[1]
    layer = nn.BatchNorm2d(4).double()
    x = batches.flatten(0, 1).requires_grad_()
    y = layer(x)
    weights = torch.arange(y.numel() // 2, dtype=y.dtype).view(3, 4, 5, 7)
    (y * torch.cat([weights, weights])).sum().backward()
    for found, expected in (
        (torch.cat([y0, y1]), y),
        (torch.cat([dx0, dx1]), x.grad),
        (mean, layer.running_mean),
        (var, layer.running_var),
        (dw0 + dw1, layer.weight.grad),
    ):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
