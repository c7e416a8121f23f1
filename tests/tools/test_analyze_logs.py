"""analyze_logs.py, on what mmengine writes for the three libraries."""

import json

import numpy as np
import pytest
from PIL import Image

from mmmamba.analysis.logs import curve, load_log, smoothed, train_time

TOOL = 'analysis_tools/analyze_logs.py'


@pytest.fixture
def work_dir(tmp_path):
    train = [
        {'lr': 1e-3, 'loss': 5.0 / (i + 1), 'time': 9.0 if i % 4 == 0 else 0.5, 'epoch': 1 + i // 4, 'iter': i + 1,
         'step': i + 1} for i in range(8)
    ]  # fmt: skip
    val = [{'coco/bbox_mAP': 0.1 * epoch, 'data_time': 0.1, 'step': epoch} for epoch in (1, 2)]
    lines = [json.dumps(record) for record in (*train[:4], val[0], *train[4:], val[1])]
    path = tmp_path / 'run/20261126_070000/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join(lines) + '\n{"lr": 0.0')  # killed while it wrote
    return tmp_path / 'run'


def test_curves_are_drawn(work_dir, run_tool, tmp_path):
    out = tmp_path / 'pictures/curves.png'
    run_tool(TOOL, 'plot_curve', work_dir, work_dir, '--keys', 'loss', 'bbox_mAP', '--legend', *'abcd', '--out', out,
             '--window-size', 2)  # fmt: skip
    with Image.open(out) as image:
        assert np.asarray(image.convert('L')).std() > 5


def test_values_are_those_of_the_log(work_dir):
    records = load_log(work_dir)
    steps, values = curve(records, 'loss', 'log', start=2)
    assert steps.tolist() == [5, 6, 7, 8]
    assert values[0] == 1
    assert curve(records, 'bbox_mAP', 'log')[1].tolist() == [0.1, 0.2]


def test_smoothing_is_a_mean_of_what_came_before():
    assert smoothed(np.array([1.0, 3.0, 5.0]), 2).tolist() == [1, 2, 4]


def test_times_leave_out_the_first_of_each_epoch(work_dir, run_tool, capsys):
    assert train_time(work_dir)['mean'] == 0.5
    assert train_time(work_dir, include_outliers=True)['mean'] == pytest.approx((9 + 3 * 0.5) / 4)
    run_tool(TOOL, 'cal_train_time', work_dir)
    assert 'mean 0.5000 s/iter' in capsys.readouterr().out


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--keys', 'mIoU'), r"has no key 'mIoU'; it has coco/bbox_mAP, data_time, loss"),
    (('--style', 'purple'), r"--style 'purple' is not one of"),
])  # fmt: skip
def test_what_is_not_there_is_one_line(arguments, message, work_dir, run_tool):
    with pytest.raises(SystemExit, match=f'error: .*{message}'):
        run_tool(TOOL, 'plot_curve', work_dir, *arguments)


def test_a_folder_without_a_log_is_one_line(tmp_path, run_tool):
    with pytest.raises(SystemExit, match='error: no log at'):
        run_tool(TOOL, 'plot_curve', tmp_path)
