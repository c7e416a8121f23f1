"""Training at scale, on a CPU: what the config asks for is what happens to the weights."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmmamba import engine
from mmmamba.checkpoints import load_file
from mmmamba.engine import UserError
from mmmamba.engine.config import load_config

pytestmark = pytest.mark.usefixtures('no_formatting')
BASES = Path(__file__).parents[2] / 'configs/_base_'
ONE_EPOCH = {'train_cfg.max_epochs': 1}
# Nothing is drawn, so that runs with other batches see the same.
NO_DRAWS = {'model.backbone.drop_path_rate': 0, 'train_dataloader.dataset.pipeline.1.prob': 0.0}


def train(config: str, work_dir: str, options: dict, launcher: str = 'none') -> None:
    """Train under a name of its own; mmengine's loggers of one name and second are one."""
    engine.train(
        config, work_dir=work_dir, options=options | {'experiment_name': Path(work_dir).name}, launcher=launcher
    )


def _weights(work_dir: Path, file: str = 'epoch_1.pth') -> dict[str, torch.Tensor]:
    return load_file(work_dir / file)['state_dict']


def _losses(work_dir: Path) -> list[float]:
    (path,) = work_dir.glob('*/vis_data/scalars.json')
    lines = map(json.loads, path.read_text().splitlines())
    return [line['loss'] for line in lines if 'loss' in line]


def _assert_same(found: dict, expected: dict, rtol: float = 0, atol: float = 0) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=rtol, atol=atol, msg=name)


def _with_base(config: str, base: str) -> str:
    """A config that adds one of ``configs/_base_`` to another, as a user does."""
    path = Path(config).with_name(f'with_{Path(base).stem}.py')
    path.write_text(f'_base_ = [{config!r}, {str(BASES / base)!r}]\n')
    return str(path)


def test_accumulated_gradients_step_like_the_batch_they_add_up_to(config, tmp_path):
    # Adam would divide by gradients that are zero but for rounding; the moving average counts iterations.
    options = ONE_EPOCH | NO_DRAWS | {'optim_wrapper.optimizer': dict(type='SGD', lr=0.1), 'custom_hooks': []}
    train(config, work_dir=str(tmp_path / 'whole'), options=options)
    parts = {'optim_wrapper.accumulative_counts': 2, 'train_dataloader.batch_size': 3}
    train(config, work_dir=str(tmp_path / 'parts'), options=options | parts)
    _assert_same(_weights(tmp_path / 'parts'), _weights(tmp_path / 'whole'), rtol=1e-5, atol=1e-6)


def test_checkpointed_activations_train_to_the_same_weights(config, tmp_path):
    train(config, work_dir=str(tmp_path / 'kept'), options=ONE_EPOCH)
    train(config, work_dir=str(tmp_path / 'again'), options=ONE_EPOCH | {'model.backbone.with_cp': True})
    _assert_same(_weights(tmp_path / 'again'), _weights(tmp_path / 'kept'))


def test_a_deterministic_config_gives_the_same_losses_and_weights_twice(config, tmp_path):
    path = _with_base(config, 'deterministic.py')
    for run in ('first', 'second'):
        train(path, work_dir=str(tmp_path / run), options=ONE_EPOCH)
    assert torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    losses = [_losses(tmp_path / run) for run in ('first', 'second')]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4
    _assert_same(_weights(tmp_path / 'second'), _weights(tmp_path / 'first'))


def test_layer_decay_lowers_the_learning_rate_towards_the_image(config, tmp_path):
    decay = {
        'optim_wrapper.constructor': 'mmmamba.LayerDecayConstructor',
        'optim_wrapper.paramwise_cfg': dict(layer_decay_rate=0.5, norm_decay_mult=0.0),
        'optim_wrapper.optimizer.weight_decay': 0.01,
    }
    train(config, work_dir=str(tmp_path), options=ONE_EPOCH | decay)
    groups = load_file(tmp_path / 'epoch_1.pth')['optimizer']['param_groups']
    rates = {round(group['lr'] / 1e-3, 6) for group in groups}
    assert rates == {1, 0.5, 0.25, 0.125}  # head and output norm, two blocks, the patch embedding
    assert {group['weight_decay'] for group in groups} == {0.01, 0.0}
    assert len(groups) <= 8


def test_layer_decay_without_a_rate_is_one_line(config, tmp_path):
    decay = {
        'optim_wrapper.constructor': 'mmmamba.LayerDecayConstructor',
        'optim_wrapper.paramwise_cfg': dict(lr_decay=1),
    }
    with pytest.raises(UserError, match='layer_decay_rate is None'):
        train(config, work_dir=str(tmp_path), options=decay)


@pytest.mark.slow
def test_a_compiled_training_step_gives_the_losses_of_an_eager_one(config, tmp_path):
    """Traced and split as for a GPU; the compiler behind it is left out, which takes minutes."""
    train(config, work_dir=str(tmp_path / 'eager'), options=ONE_EPOCH | NO_DRAWS)
    compiled = {'compile': dict(backend='aot_eager')}
    train(
        _with_base(config, 'compile.py'), work_dir=str(tmp_path / 'compiled'), options=ONE_EPOCH | NO_DRAWS | compiled
    )
    assert _losses(tmp_path / 'compiled') == pytest.approx(_losses(tmp_path / 'eager'), rel=1e-4)


def test_deepspeed_that_is_not_installed_is_one_line(config, tmp_path, monkeypatch):
    monkeypatch.setenv('RANK', '0')  # as torchrun does
    with pytest.raises(UserError, match='needs DeepSpeed, which is not installed: pip install deepspeed'):
        train(
            _with_base(config, 'strategies/deepspeed_zero2.py'), work_dir=str(tmp_path), options={}, launcher='pytorch'
        )


def test_deepspeed_is_told_what_the_optimizer_wrapper_says(config):
    options = {'optim_wrapper.clip_grad': dict(max_norm=5), 'optim_wrapper.accumulative_counts': 2}
    cfg = load_config(_with_base(config, 'strategies/deepspeed_zero2.py'), options)
    assert cfg.optim_wrapper.keys() == {'type', 'optimizer'}
    assert (cfg.strategy.gradient_clipping, cfg.strategy.gradient_accumulation_steps) == (5, 2)


def test_a_strategy_without_processes_is_one_line(config, tmp_path):
    with pytest.raises(UserError, match=r'shards a model over processes; start them: tools/dist_train.sh'):
        train(_with_base(config, 'strategies/fsdp.py'), work_dir=str(tmp_path), options={})


@pytest.mark.slow
def test_two_processes_that_shard_the_model_train_like_one_that_does_not(config, tmp_path):
    text = Path(config).read_text().replace("custom_hooks = [dict(type='EMAHook', momentum=0.1)]", '')
    Path(config).write_text(text)
    sgd = {'optim_wrapper.optimizer': dict(type='SGD', lr=0.1), 'optim_wrapper.clip_grad': dict(max_norm=0.05)}
    train(config, work_dir=str(tmp_path / 'one'), options={'train_cfg.max_epochs': 2} | NO_DRAWS | sgd)
    sharded = Path(_with_base(config, 'strategies/fsdp.py'))
    sharded.write_text(
        sharded.read_text()
        + "optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1), clip_grad=dict(max_norm=0.05))\n"
        + 'model = dict(backbone=dict(drop_path_rate=0))\n'
    )
    flags = ['--cfg-options', 'train_dataloader.dataset.pipeline.1.prob=0.0', 'train_dataloader.batch_size=3']
    for epochs, resume in ((1, []), (2, ['--resume'])):
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            port = str(probe.getsockname()[1])
        environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': port, 'OMP_NUM_THREADS': '1'}
        command = [BASES.parents[1] / 'tools/dist_train.sh', sharded, '2', '--work-dir', tmp_path / 'two', *resume]
        run = subprocess.run(
            [*command, *flags, f'train_cfg.max_epochs={epochs}'],
            env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert run.returncode == 0, run.stderr[-3000:]
    for file in ('epoch_1.pth', 'epoch_2.pth'):
        _assert_same(_weights(tmp_path / 'two', file), _weights(tmp_path / 'one', file), rtol=1e-4, atol=1e-5)
    metrics = engine.evaluate(config, str(tmp_path / 'two'), work_dir=str(tmp_path / 'eval'))
    assert 0 <= metrics['accuracy/top1'] <= 100


def test_tensorboard_gets_the_losses_by_one_line(config, tmp_path):
    path = Path(config).with_name('tracked.py')
    line = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')])"
    path.write_text(f'_base_ = {config!r}\n{line}\n')
    train(str(path), work_dir=str(tmp_path / 'run'), options=ONE_EPOCH)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = (tmp_path / 'run').glob('*/vis_data/events.out.tfevents.*')
    reader = EventAccumulator(str(events))
    reader.Reload()
    assert [event.value for event in reader.Scalars('loss')] == pytest.approx(_losses(tmp_path / 'run'), rel=1e-4)


@pytest.mark.slow  # starting its service takes seconds
@pytest.mark.skipif(importlib.util.find_spec('wandb') is None, reason='needs wandb')
def test_weights_and_biases_gets_the_losses_by_one_line(config, tmp_path, monkeypatch):
    import wandb

    monkeypatch.setenv('WANDB_MODE', 'offline')
    logged = []
    log = wandb.sdk.wandb_run.Run.log

    def record(run, data, *args, **options):
        logged.append(dict(data))
        return log(run, data, *args, **options)

    monkeypatch.setattr(wandb.sdk.wandb_run.Run, 'log', record)
    path = Path(config).with_name('tracked.py')
    line = "visualizer = dict(vis_backends=[dict(type='LocalVisBackend'), dict(type='WandbVisBackend')])"
    path.write_text(f'_base_ = {config!r}\n{line}\n')
    train(str(path), work_dir=str(tmp_path / 'run'), options=ONE_EPOCH)
    wandb.finish()
    assert [data['loss'] for data in logged if 'loss' in data] == pytest.approx(_losses(tmp_path / 'run'), rel=1e-4)
    assert list((tmp_path / 'run').glob('*/vis_data/wandb/offline-run-*/*.wandb'))
