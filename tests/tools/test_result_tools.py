"""eval_metric.py, confusion_matrix.py and publish_model.py."""

import json
import pickle

import numpy as np
import pytest
import torch

from mmmamba.checkpoints import load_file
from mmmamba.engine import evaluate
from mmmamba.engine.config import load_config


@pytest.fixture
def predicted(demo, demo_weights, tmp_path):
    """Call it with a task: config, flags, results and the metrics that test.py printed."""

    def predict(task):
        config, flags = demo(task)
        options = dict(flag.split('=', 1) for flag in flags[1:])
        options = {key: int(value) if value.isdigit() else value for key, value in options.items()}
        out = tmp_path / ('maps' if task == 'seg' else 'results.pkl')
        metrics = evaluate(config, str(demo_weights(task)), out=str(out), options=options)
        return config, flags, out, metrics

    return predict


@pytest.mark.parametrize('task', ['cls', 'det', 'seg'])
def test_results_are_judged_as_when_they_were_made(task, predicted, run_tool, tmp_path):
    config, flags, results, metrics = predicted(task)
    run_tool('analysis_tools/eval_metric.py', config, results, '--out', tmp_path / 'metrics.json', *flags)
    again = json.loads((tmp_path / 'metrics.json').read_text())
    assert again == {key: pytest.approx(value, nan_ok=True) for key, value in metrics.items() if key in again}
    assert again
    run_tool('analysis_tools/confusion_matrix.py', config, results, tmp_path / 'cm', '--score-thr', '0', *flags)
    made = json.loads((tmp_path / 'cm/confusion_matrix.json').read_text())
    matrix, cfg = np.array(made['matrix']), load_config(config)
    assert (tmp_path / 'cm/confusion_matrix.png').stat().st_size > 5000
    if task == 'cls':
        assert matrix.shape == (10, 10)
        assert 100 * np.trace(matrix) / matrix.sum() == pytest.approx(metrics['accuracy/top1'], abs=1e-3)
    elif task == 'seg':
        assert matrix.shape == (11, 11)
        assert 100 * np.trace(matrix) / matrix.sum() == pytest.approx(metrics['aAcc'], abs=0.01)
    else:
        assert matrix.shape == (11, 11)
        assert made['classes'] == [*cfg.data['metainfo']['classes'], 'background']


@pytest.mark.slow
def test_a_checkpoint_is_run_for_its_confusion_matrix(demo, demo_weights, run_tool, tmp_path):
    config, flags = demo('cls')
    run_tool('analysis_tools/confusion_matrix.py', config, demo_weights('cls'), tmp_path / 'cm', *flags)
    assert np.sum(json.loads((tmp_path / 'cm/confusion_matrix.json').read_text())['matrix']) == 20


class _Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), 'w')


def test_results_with_code_are_refused(demo, run_tool, tmp_path):
    config, flags = demo('cls')
    (tmp_path / 'bomb.pkl').write_bytes(pickle.dumps([{'pred_score': _Bomb(tmp_path / 'ran')}]))
    with pytest.raises(SystemExit, match=r'error: results .*bomb.pkl.* hold io.open, .* could run code'):
        run_tool('analysis_tools/eval_metric.py', config, tmp_path / 'bomb.pkl', *flags)
    assert not (tmp_path / 'ran').exists()


def test_results_of_another_size_are_refused(demo, run_tool, tmp_path):
    config, flags = demo('cls')
    (tmp_path / 'r.pkl').write_bytes(pickle.dumps([{'pred_score': torch.ones(10)}]))
    with pytest.raises(SystemExit, match='holds 1 predictions, the test data are 20 images'):
        run_tool('analysis_tools/eval_metric.py', config, tmp_path / 'r.pkl', *flags)


def test_a_published_checkpoint_has_weights_alone_and_the_hash_in_its_name(run_tool, tmp_path, capsys):
    checkpoint = dict(
        state_dict={'w': torch.ones(2)}, meta={'epoch': 3}, optimizer={'lr': 1.0},
        ema_state_dict={'module.w': torch.zeros(2), 'steps': torch.tensor(3)},
    )  # fmt: skip
    torch.save(checkpoint, tmp_path / 'in.pth')
    run_tool('model_converters/publish_model.py', tmp_path / 'in.pth', tmp_path / 'out' / 'model.pth')
    assert 'left out: optimizer, ema_state_dict' in capsys.readouterr().out
    (file,) = (tmp_path / 'out').iterdir()
    assert file.name.startswith('model-')
    assert len(file.stem) == len('model-') + 8
    assert set(load_file(file)) == {'state_dict', 'meta'}
    run_tool('model_converters/publish_model.py', tmp_path / 'in.pth', tmp_path / 'raw' / 'model.pth', '--no-ema')
    (raw,) = (tmp_path / 'raw').iterdir()
    assert load_file(raw)['state_dict']['w'].sum() == 0
    assert list(load_file(raw)['state_dict']) == ['w']
