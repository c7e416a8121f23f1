"""Commands of the documentation that need no data, no weights and no GPU are run as they stand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, commands

CHEAP = (
    'mmmamba.doctor',
    'print_config.py',
    'get_flops',
    'prepare_handwriting.py',
    'configs_folder',
    'scan_gallery.py',
)
EXAMPLE = 'my_project/'  # test_python.py writes its files and runs it
LINES = sorted({
    line
    for page in PAGES
    for line, inline in commands(page)
    if not inline and any(name in line for name in CHEAP) and EXAMPLE not in line
})  # fmt: skip


def test_there_are_such_commands():
    assert len(LINES) >= 5


@pytest.mark.slow
@pytest.mark.parametrize('line', LINES)
def test_command_runs(line, tmp_path):
    for name in ('tools',) if 'configs_folder' in line else ('configs', 'tools'):
        (tmp_path / name).symlink_to(ROOT / name)
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    environment = {**os.environ, 'PATH': path, 'PYTHONPATH': str(ROOT), 'OMP_WAIT_POLICY': 'PASSIVE'}
    done = subprocess.run(['bash', '-ec', line], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    if 'configs_folder' in line:
        assert (tmp_path / 'configs/_base_/default_runtime_det.py').is_file()
