"""print_config.py, browse_dataset.py."""

import pytest


def test_print_config_prints_all_of_it(run_tool, capsys, tmp_path):
    run_tool('misc/print_config.py', 'vmamba-t_8xb128-300e_in1k', '--save-path', tmp_path / 'whole.py',
             '--cfg-options', 'train_cfg.max_epochs=7')  # fmt: skip
    out = capsys.readouterr().out
    assert "arch='tiny_s1l8'" in out
    assert 'max_epochs=7' in out
    assert 'max_epochs=7' in (tmp_path / 'whole.py').read_text()


@pytest.mark.parametrize('task', ['cls', 'det', 'seg'])
def test_browse_dataset_draws_samples(task, run_tool, demo, tmp_path, capsys):
    config, options = demo(task)
    run_tool('analysis_tools/browse_dataset.py', config, '--not-show', '-o', tmp_path / 'p', '-n', 2, *options)
    assert len(list((tmp_path / 'p').glob('*.png'))) == 2
    assert '2 samples' in capsys.readouterr().out


def test_browse_dataset_with_nothing_to_do_says_so(run_tool):
    with pytest.raises(SystemExit, match='name a folder: -o DIR'):
        run_tool('analysis_tools/browse_dataset.py', 'cls_vmamba-nano_handwriting', '--not-show')


def test_browse_dataset_opens_no_window_where_there_is_no_display(run_tool, monkeypatch):
    monkeypatch.delenv('DISPLAY', raising=False)
    monkeypatch.delenv('WAYLAND_DISPLAY', raising=False)
    monkeypatch.setattr('sys.platform', 'linux')
    with pytest.raises(SystemExit, match='no display and no --output-dir'):
        run_tool('analysis_tools/browse_dataset.py', 'cls_vmamba-nano_handwriting')
