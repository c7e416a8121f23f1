"""A run that is told to go, killed, out of space, or whose loss is not finite."""

import itertools
import os
import resource
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.runner import CheckpointLoader

from mmmamba.checkpoints import CheckpointError, latest_checkpoint, load_file
from mmmamba.engine import Runner, UserError, evaluate, one_line_errors, train
from mmmamba.engine.config import load_config
from mmmamba.engine.termination import EXIT_CODE

pytestmark = pytest.mark.usefixtures('no_formatting')


class _At(Hook):
    """Do something before an iteration."""

    def __init__(self, iteration: int, action) -> None:
        self.iteration, self.action = iteration, action

    def before_train_iter(self, runner, batch_idx: int, data_batch=None) -> None:
        if runner.iter == self.iteration:
            self.action(runner)


def _train(config: str, work_dir: Path, *hooks: Hook, **options) -> Runner:
    cfg = load_config(config, options)
    cfg.work_dir = str(work_dir)
    runner = Runner.from_cfg(cfg)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    return runner


def _terminate(runner) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)['state_dict']


def _log(run: Path) -> str:
    return ''.join(path.read_text() for path in run.glob('*/*.log'))


def _same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(
    'iteration',
    [
        pytest.param(1, id='in epoch 1', marks=pytest.mark.slow),
        pytest.param(3, id='at the end of epoch 1', marks=pytest.mark.slow),
        pytest.param(6, id='in epoch 2'),
    ],
)
def test_sigterm_checkpoints_exits_and_resumes_to_the_same_weights(iteration, classifier, tmp_path):
    train(classifier, work_dir=str(tmp_path / 'whole'))
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        _train(classifier, tmp_path / 'cut', _At(iteration, _terminate))
    assert left.value.code == EXIT_CODE
    assert signal.getsignal(signal.SIGTERM) == handler
    assert latest_checkpoint(tmp_path / 'cut').name == f'iter_{iteration + 1}.pth'

    train(classifier, work_dir=str(tmp_path / 'cut'), resume='auto')
    assert _same(_weights(tmp_path / 'cut/epoch_2.pth'), _weights(tmp_path / 'whole/epoch_2.pth'))


class _TerminateInValidation(Hook):
    def after_val_iter(self, runner, **kwargs) -> None:
        if runner.iter == 4:
            _terminate(runner)


def test_sigterm_within_a_validation_saves_the_weights_and_not_their_average(classifier, tmp_path):
    cfg = load_config(classifier)
    options = dict(
        val_dataloader=cfg.test_dataloader,
        val_evaluator=cfg.test_evaluator,
        val_cfg=dict(),
        custom_hooks=[dict(type='EMAHook', momentum=0.5)],
    )
    with pytest.raises(SystemExit) as left:
        _train(classifier, tmp_path, _TerminateInValidation(), **options)
    assert left.value.code == EXIT_CODE
    before, within = load_file(tmp_path / 'epoch_1.pth'), load_file(tmp_path / 'iter_4.pth')
    assert _same(within['state_dict'], before['state_dict'])
    assert _same(within['ema_state_dict'], before['ema_state_dict'])
    assert (within['meta']['epoch'], within['meta']['iter']) == (before['meta']['epoch'], before['meta']['iter'])


def test_sigterm_waits_for_the_step_of_accumulated_gradients(classifier, tmp_path):
    with pytest.raises(SystemExit):
        _train(classifier, tmp_path, _At(0, _terminate), **{'optim_wrapper.accumulative_counts': 4})
    assert latest_checkpoint(tmp_path).name == 'iter_4.pth'


def test_sigkill_within_a_checkpoint_leaves_no_torn_one(classifier, tmp_path, monkeypatch):
    runner = _train(classifier, tmp_path, **{'train_cfg.max_epochs': 1})

    def torn(self, content: bytes, path: str) -> None:
        Path(path).write_bytes(content[: len(content) // 2])
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(LocalBackend, 'put', torn)
    child = os.fork()
    if child == 0:
        runner.save_checkpoint(str(tmp_path), 'epoch_2.pth')
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert (tmp_path / 'epoch_2.pth.part').exists()  # the child was killed in the middle
    assert latest_checkpoint(tmp_path).name == 'epoch_1.pth'
    assert load_file(latest_checkpoint(tmp_path))['meta']['epoch'] == 1


def test_killed_at_any_moment_a_run_leaves_a_checkpoint_that_loads(classifier, tmp_path):
    """Twelve children that do nothing but save, each killed a little later than the one before."""
    runner = _train(classifier, tmp_path, **{'train_cfg.max_epochs': 1})
    for moment in range(12):
        child = os.fork()
        if child == 0:
            for step in itertools.count(2):
                runner.save_checkpoint(str(tmp_path), f'epoch_{step % 3}.pth')
        time.sleep(0.004 * moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for path in tmp_path.glob('*.pth'):
            assert load_file(path).keys() > {'state_dict', 'optimizer', 'meta'}


TORN = {
    'cut off': lambda whole: whole[: len(whole) // 2],
    'empty': lambda whole: b'',
    'zeros where weights were': lambda whole: whole[:3000] + bytes(2000) + whole[5000:],
}


@pytest.mark.parametrize('kind', TORN)
def test_a_torn_checkpoint_is_passed_over_and_named(kind, tmp_path):
    """What a power cut or an interrupted copy leaves behind, beside a torn ``last_checkpoint``."""
    torch.save(dict(state_dict=dict(w=torch.randn(2000))), tmp_path / 'epoch_1.pth')
    torn = tmp_path / 'epoch_2.pth'
    torn.write_bytes(TORN[kind]((tmp_path / 'epoch_1.pth').read_bytes()))
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epo'))
    MMLogger.get_instance(kind, log_file=str(tmp_path / 'run.log'))
    assert latest_checkpoint(tmp_path).name == 'epoch_1.pth'
    assert f"checkpoint '{torn}' is torn" in (tmp_path / 'run.log').read_text()


@contextmanager
def _files_no_larger_than(size: int):
    """The kernel refuses to let a file of this process grow past ``size`` bytes, as on a disk that fills up.

    Not a fixture: pytest prints a test's result before it tears fixtures down, perhaps into a file that is larger.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_keeps_the_old_checkpoint_and_says_so(classifier, tmp_path):
    runner = _train(classifier, tmp_path, **{'train_cfg.max_epochs': 1})
    half = (tmp_path / 'epoch_1.pth').stat().st_size // 2
    with (
        pytest.raises(UserError, match=r'epoch_2.pth. cannot be written \(File too large\).* free space'),
        _files_no_larger_than(half),
    ):
        runner.save_checkpoint(str(tmp_path), 'epoch_2.pth')
    assert [path.name for path in tmp_path.glob('epoch*')] == ['epoch_1.pth']
    assert load_file(tmp_path / 'epoch_1.pth')['meta']['epoch'] == 1


def _fill_disk_at(path: Path) -> None:
    """What is written to this path finds no space: the kernel's own device for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to('/dev/full')


def test_a_run_goes_on_past_a_full_disk_and_fails_in_the_end_only_if_it_stays_full(classifier, tmp_path):
    keep_one = {'default_hooks.checkpoint.max_keep_ckpts': 1}
    _fill_disk_at(tmp_path / 'freed/epoch_2.pth.part')
    runner = _train(classifier, tmp_path / 'freed', **keep_one, **{'train_cfg.max_epochs': 3})
    assert [path.name for path in (tmp_path / 'freed').glob('*.pth')] == ['epoch_3.pth']
    assert runner.iter == 12
    _fill_disk_at(tmp_path / 'full/epoch_2.pth.part')
    with pytest.raises(UserError, match='No space left on device'):
        _train(classifier, tmp_path / 'full', **keep_one)
    assert [path.name for path in (tmp_path / 'full').glob('*.pth')] == ['epoch_1.pth']


def test_a_run_goes_on_past_a_log_and_a_note_that_cannot_be_written(classifier, tmp_path):
    _fill_disk_at(tmp_path / 'run/last_checkpoint')

    def fill_logs(runner) -> None:
        _fill_disk_at(Path(runner.log_dir, 'vis_data/scalars.json'))

    _train(classifier, tmp_path / 'run', _At(1, fill_logs))
    assert latest_checkpoint(tmp_path / 'run').name == 'epoch_2.pth'
    assert 'cannot be written (No space left on device); the run goes on' in _log(tmp_path / 'run')


def test_what_else_finds_no_space_ends_in_one_line():
    with pytest.raises(SystemExit, match='No space left on device: a file of the run; free space'), one_line_errors():
        Path('/dev/full').write_text('config')


def _spoil(runner) -> None:
    """Make one forward pass give NaN in a layer."""
    layer = runner.model.backbone.stages[1].blocks[0].norm1
    handles = [layer.register_forward_hook(lambda *args: handles.pop().remove() or args[2] * float('nan'))]


def _spoil_for_good(runner) -> None:
    runner.model.backbone.stages[1].blocks[0].norm1.register_forward_hook(lambda *args: args[2] * float('nan'))


def test_a_nan_loss_names_iteration_samples_and_layer(classifier, tmp_path):
    layer, files = r'backbone.stages.1.blocks.0.norm1 \(.*\)', r'\S+png, \S+png'
    with pytest.raises(UserError, match=f'iteration 3: loss is not finite; first seen in {layer}; samples: {files}'):
        _train(classifier, tmp_path, _At(2, _spoil_for_good))


def test_a_batch_with_a_nan_loss_is_skipped_by_config(classifier, tmp_path):
    skip = {'custom_hooks': [dict(type='mmmamba.NaNGuardHook', action='skip')]}
    runner = _train(classifier, tmp_path, _At(2, _spoil), **skip)
    assert runner.iter == 8
    assert 'the batch is left out' in _log(tmp_path)
    assert all(weight.isfinite().all() for weight in _weights(tmp_path / 'epoch_2.pth').values())


def test_a_loss_that_stays_nan_stops_the_run_that_skips(classifier, tmp_path):
    skip = {'custom_hooks': [dict(type='mmmamba.NaNGuardHook', action='skip', max_skips=2)]}
    with pytest.raises(UserError, match='iteration 5: loss is not finite'):
        _train(classifier, tmp_path, _At(2, _spoil_for_good), **skip)


class _Malicious:
    def __reduce__(self):
        return os.system, ('touch executed',)


@pytest.fixture
def malicious(tmp_path, monkeypatch) -> str:
    """A checkpoint that runs a command when it is unpickled."""
    monkeypatch.chdir(tmp_path)
    torch.save({'state_dict': {}, 'meta': _Malicious()}, 'malicious.pth')
    return 'malicious.pth'


def _as_mmengine_initializes(config: str, checkpoint: str) -> None:
    options = {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint=checkpoint)}
    train(config, work_dir='run', options=options)


READERS = {
    'test': lambda config, checkpoint: evaluate(config, checkpoint, work_dir='run'),
    'resume': lambda config, checkpoint: train(config, work_dir='run', resume=checkpoint),
    'load_from': lambda config, checkpoint: train(config, work_dir='run', options={'load_from': checkpoint}),
    'init_cfg': _as_mmengine_initializes,
    'mmengine': lambda config, checkpoint: CheckpointLoader.load_checkpoint(checkpoint),
}


@pytest.mark.parametrize('reader', READERS)
def test_a_malicious_checkpoint_is_refused_without_running_it(reader, malicious, classifier):
    with pytest.raises(CheckpointError, match=r'malicious.pth. holds .posix.system.* could run code'):
        READERS[reader](classifier, malicious)
    assert not Path('executed').exists()


@pytest.mark.parametrize('content', [b'', b'<html>404</html>', None], ids=['empty', 'html', 'cut off'])
def test_a_corrupt_checkpoint_is_refused_by_name(content, tmp_path):
    if content is None:
        torch.save({'state_dict': {'w': torch.ones(99)}}, tmp_path / 'bad.pth')
        content = (tmp_path / 'bad.pth').read_bytes()[:300]
    (tmp_path / 'bad.pth').write_bytes(content)
    with pytest.raises(CheckpointError, match=r'bad.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'bad.pth'))


def test_a_foreign_checkpoint_is_refused_with_the_names_that_differ(classifier, tmp_path):
    torch.save({'state_dict': {'layer1.0.conv1.weight': torch.ones(4, 4, 3, 3)}}, tmp_path / 'resnet.pth')
    with pytest.raises(CheckpointError, match=r'resnet.pth. does not fit .*layer1.0.conv1.weight'):
        evaluate(classifier, str(tmp_path / 'resnet.pth'), work_dir=str(tmp_path / 'eval'))
