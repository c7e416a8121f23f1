"""What the project says of itself in several places is the same everywhere."""

import re
from pathlib import Path

from packaging.requirements import Requirement

import mmmamba
from mmmamba import compat

ROOT = Path(__file__).parents[1]


def _requirements() -> dict[str, Requirement]:
    lines = (line.split('#')[0].strip() for line in (ROOT / 'requirements.txt').read_text().splitlines())
    return {requirement.name: requirement for requirement in map(Requirement, filter(None, lines))}


def test_the_tested_ranges_are_those_of_the_requirements():
    required = _requirements()
    assert {name: required[name].specifier for name in compat.TESTED} == {
        name: Requirement(f'{name}{tested}').specifier for name, tested in compat.TESTED.items()
    }


def test_this_stack_is_a_tested_one():
    assert compat.stack_problems() == []


def test_ci_runs_the_test_command_of_the_readme():
    assert 'make test' in (ROOT / '.ci/run').read_text()
    assert re.search(r'^make test', (ROOT / 'README.md').read_text(), re.MULTILINE)


def test_version_is_a_release_number():
    assert re.fullmatch(r'\d+\.\d+\.\d+', mmmamba.__version__)


def test_imports_run_one_way():
    """ops <- scans <- layers <- models; nobody imports tools."""
    floors = ['ops', 'scans', 'layers', 'models']
    upstairs = {floor: set(floors[i + 1 :]) | {'engine', 'datasets', 'analysis'} for i, floor in enumerate(floors)}
    found = []
    for floor in floors:
        for file in (ROOT / 'mmmamba' / floor).rglob('*.py'):
            for room in re.findall(r'^\s*(?:from|import) mmmamba\.(\w+)', file.read_text(), re.MULTILINE):
                if room in upstairs[floor]:
                    found.append(f'{file.relative_to(ROOT)} imports mmmamba.{room}')
    assert not found
