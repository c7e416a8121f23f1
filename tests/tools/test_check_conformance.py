"""check_conformance.py."""

import json
import shutil
from pathlib import Path

import pytest

CASES = Path(__file__).parents[1] / 'data' / 'conformance'


def test_a_case_that_cannot_be_built_fails_and_the_others_are_judged(run_tool, tmp_path, capsys):
    for name in ('custom_small', 'custom_small_nocls'):
        for suffix in ('.json', '.npz'):
            shutil.copy(CASES / 'vim' / f'{name}{suffix}', tmp_path)
    info = json.loads((tmp_path / 'custom_small.json').read_text())
    del info['kwargs']
    (tmp_path / 'custom_small.json').write_text(json.dumps(info))
    with pytest.raises(SystemExit) as exit_:
        run_tool('analysis_tools/check_conformance.py', tmp_path)
    assert exit_.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "FAIL  vim/custom_small: KeyError: 'kwargs'"
    assert lines[1].startswith('pass  vim/custom_small_nocls 64x48: ')
    assert lines[-1] == '1 passed, 1 failed'
