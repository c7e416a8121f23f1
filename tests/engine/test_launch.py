"""Training and evaluation from a config, with the flags of the launcher."""

import argparse
import os
import pickle
import subprocess
import sys
from pathlib import Path

import mmengine
import numpy as np
import pytest
import torch
from torch import nn

from mmmamba.checkpoints import CheckpointError, export, load_file
from mmmamba.engine import ConfigOptions, Runner, UserError, evaluate, train
from mmmamba.engine.config import load_config
from mmmamba.engine.fp32_losses import compute_losses_in_fp32

pytestmark = pytest.mark.usefixtures('no_formatting')
TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.fixture
def trained(config, tmp_path) -> Path:
    train(config, work_dir=str(tmp_path / 'run'), options={'train_cfg.max_epochs': 1})
    return tmp_path / 'run'


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)['state_dict']


def test_training_changes_the_weights_and_evaluation_takes_the_latest(config, trained, tmp_path):
    metrics = evaluate(config, str(trained), work_dir=str(tmp_path / 'eval'))
    assert 0 <= metrics['accuracy/top1'] <= 100
    by_name = evaluate(config, str(trained / 'epoch_1.pth'), work_dir=str(tmp_path / 'eval'))
    assert by_name == metrics


def test_a_killed_run_resumes_to_the_same_weights(config, tmp_path):
    """Epoch 2 of the second run is killed half-way; everything after the checkpoint is drawn again as before."""
    train(config, work_dir=str(tmp_path / 'whole'))
    command = [sys.executable, str(TOOLS / 'train.py'), config, '--work-dir', str(tmp_path / 'killed')]
    hook = tmp_path / 'kill_at.py'
    hook.write_text(
        'import os, signal\n'
        'from mmengine.hooks import Hook\n'
        'from mmengine.registry import HOOKS\n'
        '@HOOKS.register_module()\n'
        'class KillAt(Hook):\n'
        '    def before_train_iter(self, runner, **kwargs):\n'
        '        if runner.iter == 6: os.kill(os.getpid(), signal.SIGKILL)\n'
    )
    options = ['custom_imports.imports=[mmmamba,kill_at]', 'default_hooks.kill.type=KillAt']
    environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}:{TOOLS.parent}'}
    killed = subprocess.run([*command, '--cfg-options', *options], env=environment, capture_output=True, check=False)
    assert killed.returncode == -9, killed.stderr.decode()
    assert sorted(path.name for path in (tmp_path / 'killed').glob('*.pth')) == ['epoch_1.pth']

    train(config, work_dir=str(tmp_path / 'killed'), resume='auto')
    whole, resumed = _weights(tmp_path / 'whole/epoch_3.pth'), _weights(tmp_path / 'killed/epoch_3.pth')
    for name, expected in whole.items():
        torch.testing.assert_close(resumed[name], expected, rtol=0, atol=0, msg=name)


def test_an_iteration_based_run_resumes_to_the_same_weights(config, tmp_path):
    options = {
        'train_cfg': dict(_delete_=True, by_epoch=False, max_iters=7, val_interval=2),
        'train_dataloader.sampler.type': 'InfiniteSampler',
        'default_hooks.checkpoint.interval': 2,
        'default_hooks.checkpoint.by_epoch': False,
    }
    train(config, work_dir=str(tmp_path / 'whole'), options=options)
    train(config, work_dir=str(tmp_path / 'cut'), options=options)
    for later in ('iter_6.pth', 'iter_7.pth'):
        (tmp_path / 'cut' / later).unlink(missing_ok=True)
    train(config, work_dir=str(tmp_path / 'cut'), options=options, resume='auto')
    whole, resumed = _weights(tmp_path / 'whole/iter_6.pth'), _weights(tmp_path / 'cut/iter_6.pth')
    for name, expected in whole.items():
        torch.testing.assert_close(resumed[name], expected, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize('load_ema', [False, True])
def test_of_an_authors_file_the_moving_average_is_taken_where_it_is_asked_for(config, tmp_path, load_ema):
    path, options = tmp_path / 'w.pth', {'work_dir': str(tmp_path / 'run'), 'load_ema': load_ema, 'custom_hooks': []}
    runner = Runner.from_cfg(load_config(config, {'load_from': str(path), **options}))
    plain = export(runner.model)
    average = {name: value + 1 for name, value in plain.items()}
    torch.save(dict(model=plain, model_ema=average), path)
    runner.load_or_resume()
    found, expected = export(runner.model), average if load_ema else plain
    assert all(torch.equal(found[name], expected[name]) for name in plain)


def test_a_run_that_began_with_a_moving_average_resumes(config, trained):
    train(config, work_dir=str(trained), resume='auto', options={'train_cfg.max_epochs': 2, 'load_ema': True})
    assert (trained / 'epoch_2.pth').is_file()


def test_resume_without_a_checkpoint_starts_at_the_beginning(config, tmp_path):
    train(config, work_dir=str(tmp_path / 'run'), resume='auto', options={'train_cfg.max_epochs': 1})
    assert (tmp_path / 'run/epoch_1.pth').is_file()


def test_resume_passes_over_a_torn_checkpoint(config, trained, tmp_path):
    whole = (trained / 'epoch_1.pth').read_bytes()
    (trained / 'epoch_2.pth').write_bytes(whole[: len(whole) // 2])
    (trained / 'last_checkpoint').write_text('')
    train(config, work_dir=str(trained), resume='auto', options={'train_cfg.max_epochs': 2})
    assert (trained / 'epoch_2.pth').stat().st_size > len(whole) // 2


def test_a_failed_save_leaves_no_file_behind(config, trained, monkeypatch):
    def full_disk(*args, **kwargs):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(torch, 'save', full_disk)
    with pytest.raises(UserError, match=r'epoch_2.pth. cannot be written \(No space'):
        train(config, work_dir=str(trained), resume='auto', options={'train_cfg.max_epochs': 2})
    assert sorted(path.name for path in trained.glob('epoch*')) == ['epoch_1.pth']


def test_the_oldest_checkpoint_goes_only_after_the_new_one_is_there(config, tmp_path):
    train(config, work_dir=str(tmp_path / 'run'), options={'default_hooks.checkpoint.max_keep_ckpts': 1})
    assert [path.name for path in (tmp_path / 'run').glob('*.pth')] == ['epoch_3.pth']


def test_amp_trains_in_bf16_on_a_cpu(config, tmp_path):
    train(config, work_dir=str(tmp_path / 'run'), amp=True, options={'train_cfg.max_epochs': 1})
    assert 'AutocastOptimWrapper' in (tmp_path / 'run/tiny.py').read_text()
    assert all(w.isfinite().all() for w in _weights(tmp_path / 'run/epoch_1.pth').values())


def test_losses_see_fp32_under_autocast():
    class Loss(nn.Module):
        def forward(self, prediction, target, weight=None):
            return prediction.dtype, target.dtype, weight.dtype

    head = nn.ModuleDict({'loss_bbox': Loss(), 'other': Loss()})
    compute_losses_in_fp32(head)
    half, labels = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.int64)
    assert head['loss_bbox'](half, labels, weight=half.half()) == (torch.float32, torch.int64, torch.float32)
    assert head['other'](half, labels, weight=half) == (torch.bfloat16, torch.int64, torch.bfloat16)


def test_auto_scale_lr_scales_by_the_batch_size(config, tmp_path):
    train(config, work_dir=str(tmp_path / 'run'), auto_scale_lr=True, options={'train_cfg.max_epochs': 1})
    (optimizer,) = load_file(tmp_path / 'run/epoch_1.pth')['optimizer']['param_groups']
    assert optimizer['lr'] == pytest.approx(0.5e-3)  # batch 6 of the intended 12


def test_auto_scale_lr_needs_a_base_batch_size(config):
    with pytest.raises(UserError, match='base_batch_size'):
        train(config, auto_scale_lr=True, options={'auto_scale_lr': dict(_delete_=True)})


def test_metrics_and_predictions_are_written(config, trained, tmp_path):
    metrics = evaluate(config, str(trained), out=str(tmp_path / 'out/metrics.json'))
    assert mmengine.load(tmp_path / 'out/metrics.json') == metrics
    evaluate(config, str(trained), out=str(tmp_path / 'predictions.pkl'))
    predictions = pickle.loads((tmp_path / 'predictions.pkl').read_bytes())  # noqa: S301 - written a line above
    assert len(predictions) == 24
    assert np.isclose(float(predictions[0]['pred_score'].sum()), 1, atol=1e-5)


def test_an_unknown_kind_of_output_is_refused_before_the_work(config, trained):
    with pytest.raises(UserError, match=r"--out 'metrics.csv' must end in .json"):
        evaluate(config, str(trained), out='metrics.csv')


def test_pictures_are_drawn(config, trained, tmp_path):
    evaluate(config, str(trained), show_dir=str(tmp_path / 'pictures'))
    assert len(list((tmp_path / 'pictures').rglob('*.png'))) == 24


def test_test_time_augmentation_averages_the_two_flips(config, trained):
    assert 'accuracy/top1' in evaluate(config, str(trained), tta=True)


def test_a_wrong_config_path_suggests_a_near_one(config):
    with pytest.raises(UserError, match=r'tinny.py. does not exist.*; did you mean \S+tiny.py'):
        train(config.replace('tiny.py', 'tinny.py'))


def test_a_config_of_no_known_library_is_refused(config):
    with pytest.raises(UserError, match=r"default_scope='mmocr'; set it to one of mmdet, mmseg, mmpretrain"):
        train(config, options={'default_scope': 'mmocr'})


def test_a_config_that_cannot_be_parsed_is_one_line(tmp_path):
    (tmp_path / 'broken.py').write_text('model = dict(')
    with pytest.raises(UserError, match='cannot be read'):
        train(str(tmp_path / 'broken.py'))


def test_a_missing_data_root_names_the_entry(config):
    with pytest.raises(
        UserError, match=r"data root '/nowhere' .* --cfg-options train_dataloader.dataset.data_root=PATH"
    ):
        train(config, options={'train_dataloader.dataset.data_root': '/nowhere'})


def test_a_missing_folder_names_the_entry(config):
    with pytest.raises(UserError, match=r'val_dataloader.dataset.data_prefix=PATH'):
        train(config, options={'val_dataloader.dataset.data_prefix': 'validation'})


def test_a_missing_checkpoint_is_one_line(config):
    with pytest.raises(CheckpointError, match=r"'absent.pth' does not exist"):
        evaluate(config, 'absent.pth')


def test_a_folder_without_a_checkpoint_is_one_line(config, tmp_path):
    with pytest.raises(CheckpointError, match='no checkpoint'):
        evaluate(config, str(tmp_path))


def test_the_checkpoint_of_another_model_is_refused(config, trained):
    options = {'model.backbone.arch': dict(embed_dims=[8, 16], depths=[1, 2], patch_size=2)}
    with pytest.raises(CheckpointError, match=r'does not fit .*stages.1.blocks.1'):
        evaluate(config, str(trained), options=options)


def test_weights_alone_cannot_be_resumed(config, trained, tmp_path):
    torch.save({'state_dict': _weights(trained / 'epoch_1.pth')}, tmp_path / 'weights.pth')
    with pytest.raises(CheckpointError, match='cannot be resumed'):
        train(config, resume=str(tmp_path / 'weights.pth'), work_dir=str(tmp_path / 'run'))


def test_wrong_class_counts_stop_before_training(config, tmp_path):
    with pytest.raises(UserError, match=r'the dataset has 3 classes .* num_classes=2'):
        train(config, options={'model.head.num_classes': 2}, work_dir=str(tmp_path / 'run'))


def test_the_tools_end_with_one_line_and_a_code(config, tmp_path):
    command = [sys.executable, str(TOOLS / 'train.py'), config, '--work-dir', str(tmp_path), '--cfg-options']
    environment = {'PYTHONPATH': str(TOOLS.parent), 'PATH': '/usr/bin:/bin', 'HOME': str(tmp_path)}
    run = subprocess.run(
        [*command, 'model.backbone.type=MM_VSSM'], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: 'MM_VSSM' is not registered; write 'mmmamba.MM_VSSM'")
    assert 'Traceback' not in run.stderr


def test_options_that_cannot_be_read_end_in_one_line(config, capsys):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    with pytest.raises(SystemExit):
        parser.parse_args(['--cfg-options', 'model.init_cfg=dict(type="a",checkpoint="b")'])
    assert 'set its keys one by one: key.type=' in capsys.readouterr().err


def test_augmentation_of_an_instance_segmentor_is_refused(tmp_path):
    config = str(TOOLS.parent / 'configs/vmamba/mask-rcnn_vmamba-t_fpn_1x_coco.py')
    with pytest.raises(UserError, match='this model has a mask_head'):
        evaluate(config, 'any.pth', tta=True, work_dir=str(tmp_path))
