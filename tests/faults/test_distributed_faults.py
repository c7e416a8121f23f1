"""Two processes, one of which is told to go or has a loss that is not finite; both have to do the same."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmmamba.checkpoints import latest_checkpoint, load_file

TOOLS = Path(__file__).parents[2] / 'tools'
FAULTS = """
import os, signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class Faults(Hook):
    def __init__(self, target):
        self.target = target

    def before_train_iter(self, runner, **kwargs):
        if runner.rank == 1 and runner.iter == 1:
            layer = runner.model.module.backbone.stages[1].blocks[0].norm1
            self.handle = layer.register_forward_hook(lambda *args: args[2] * float('nan'))
        if runner.rank == 1 and runner.iter == 2:
            self.handle.remove()
        if runner.rank == 1 and runner.iter == 5 and self.target != 'nobody':
            os.kill(os.getppid() if self.target == 'launcher' else os.getpid(), signal.SIGTERM)
"""


def _dist_train(config: Path, work_dir: Path, *flags: str) -> subprocess.CompletedProcess:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = str(probe.getsockname()[1])
    path = f'{config.parent}:{os.environ.get("PYTHONPATH", "")}'
    environment = {**os.environ, 'PYTHON': sys.executable, 'PORT': port, 'OMP_NUM_THREADS': '1', 'PYTHONPATH': path}
    options = [
        'custom_imports.imports=[mmmamba,faults]',
        'train_dataloader.batch_size=1',
    ]
    return subprocess.run(
        [TOOLS / 'dist_train.sh', config, '2', '--work-dir', work_dir, *flags, '--cfg-options', *options],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize('target', ['rank', 'launcher'])
def test_ranks_skip_leave_and_resume_together(target, classifier, tmp_path):
    (tmp_path / 'faults.py').write_text(FAULTS)
    text = Path(classifier).read_text()
    skip = "dict(type='mmmamba.NaNGuardHook', action='skip')"
    for name in (target, 'nobody'):
        hooks = f"\ncustom_hooks = [{skip}, dict(type='Faults', target='{name}')]\n"
        (tmp_path / f'{name}.py').write_text(text + hooks)
    whole = _dist_train(tmp_path / 'nobody.py', tmp_path / 'whole')
    assert whole.returncode == 0, whole.stderr[-3000:]
    cut = _dist_train(tmp_path / f'{target}.py', tmp_path / 'cut')
    assert cut.returncode != 0
    assert latest_checkpoint(tmp_path / 'cut').name == 'iter_6.pth'
    log = ''.join(path.read_text() for path in (tmp_path / 'cut').glob('*/*.log'))
    assert 'first seen in backbone.stages.1.blocks.0.norm1' in log
    assert log.count('the batch is left out') == 1
    resumed = _dist_train(tmp_path / 'nobody.py', tmp_path / 'cut', '--resume')
    assert resumed.returncode == 0, resumed.stderr[-3000:]
    expected, found = (load_file(tmp_path / run / 'epoch_2.pth')['state_dict'] for run in ('whole', 'cut'))
    for name, weight in expected.items():
        torch.testing.assert_close(found[name], weight, rtol=0, atol=0, msg=name)
