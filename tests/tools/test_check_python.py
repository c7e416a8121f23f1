"""What `make install` asks of the Python that it finds."""

import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'tools/misc/check_python.py'


def test_this_python_serves():
    runpy.run_path(str(TOOL))


def test_an_old_python_is_named_with_the_remedy(monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 8, 1))
    with pytest.raises(SystemExit, match='needs Python >= 3.10, this is 3.8; .* make PYTHON=python3.12 install'):
        runpy.run_path(str(TOOL))


@pytest.mark.parametrize('module', ['venv', 'ensurepip'])
def test_a_missing_module_is_named_with_the_package_that_brings_it(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SystemExit, match='has no module .*; install it .* apt install python3-venv'):
        runpy.run_path(str(TOOL))
