"""vis_erf.py and vis_hidden_attention.py."""

import json

import cv2
import numpy as np
import pytest
import torch

CLS, SEG = 'cls_vmamba-nano_handwriting', 'upernet_vmamba-nano_handwriting'


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'images' / 'noise.png'
    path.parent.mkdir()
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return path


def test_receptive_fields_are_drawn_side_by_side(image, run_tool, demo_weights, tmp_path, capsys):
    run_tool('analysis_tools/vis_erf.py', CLS, SEG, '--checkpoints', demo_weights('cls'), demo_weights('seg'),
             '--images', image.parent, '--size', 64, 64, '--out', tmp_path / 'out' / 'erf.png')  # fmt: skip
    ratios = json.loads((tmp_path / 'out/erf.json').read_text())
    assert list(ratios) == [CLS, SEG]
    assert all(0 < r['0.2'] <= r['0.5'] <= r['0.99'] <= 1 for r in ratios.values())
    assert cv2.imread(str(tmp_path / 'out/erf.png')).shape[1] > 700
    assert 'area with 20% of the gradient' in capsys.readouterr().out


def test_receptive_fields_of_noise_need_no_data(run_tool, tmp_path):
    run_tool('analysis_tools/vis_erf.py', CLS, '--num-images', 1, '--size', 32, 32, '--out', tmp_path / 'erf.png')
    assert (tmp_path / 'erf.png').is_file()


def test_as_many_checkpoints_as_configs(run_tool):
    with pytest.raises(SystemExit, match='error: 1 checkpoints for 2 configs'):
        run_tool('analysis_tools/vis_erf.py', CLS, SEG, '--checkpoints', 'a.pth')


@pytest.mark.parametrize(('task', 'config'), [('cls', CLS), ('seg', SEG)])
def test_hidden_attention_is_drawn_and_exact(task, config, image, run_tool, demo_weights, tmp_path, capsys):
    run_tool('analysis_tools/vis_hidden_attention.py', image, config, demo_weights(task), '--size', 64, 64,
             '--method', 'raw', 'rollout', 'attribution', '--stage', 2, '--out-dir', tmp_path / 'out')  # fmt: skip
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all('(exact)' in line for line in lines)
    for method in ('raw', 'rollout', 'attribution'):
        assert cv2.imread(str(tmp_path / f'out/noise_{method}.png')).shape == (64, 64, 3)
        heat = torch.load(tmp_path / f'out/noise_{method}.pt', weights_only=True)
        assert heat.std() > 0


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--stage', '7'), 'stage 7 does not exist; the model has 4'),
    (('--query', '99,0'), 'ROW,COLUMN of a map'),
    (('--method', 'attribution', '--target-category', '10'), 'class 10 does not exist'),
])  # fmt: skip
def test_what_does_not_exist_is_one_line(arguments, message, image, run_tool, tmp_path):
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run_tool(
            'analysis_tools/vis_hidden_attention.py', image, CLS, '--size', 32, 32, '--out-dir', tmp_path, *arguments
        )
