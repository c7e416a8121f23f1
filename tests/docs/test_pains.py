"""docs/pains.md: one row for each pain, and every test that it names exists."""

import ast
import re
from pathlib import Path

import pytest
from pages import ROOT

PAGE = ROOT / 'docs/pains.md'
ROWS = [
    [cell.strip() for cell in line.split('|')[1:-1]]
    for line in PAGE.read_text().splitlines()
    if re.match(r'\| \d+ \|', line)
]
NAMED = re.findall(r'`(tests/[\w/]+\.py)::(\w+)`', PAGE.read_text())
OPEN = set()  # pains that nothing is done about yet


def test_every_pain_has_a_row():
    assert [row[0] for row in ROWS] == [str(i) for i in range(1, 30)]


def test_every_row_names_a_test_or_says_that_it_is_open():
    assert {row[0] for row in ROWS if '::' not in row[3]} == OPEN
    for row in ROWS:
        assert row[0] not in OPEN or row[4], f'row {row[0]} says neither a test nor what is open'


@pytest.mark.parametrize(('file', 'test'), NAMED, ids='::'.join)
def test_the_test_exists(file, test):
    tree = ast.parse((ROOT / file).read_text())
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_no_foreign_kernels_are_imported():
    foreign = re.compile(
        r'^\s*(?:import|from) (mamba_ssm|causal_conv1d|selective_scan_cuda\w*|selective_scan)\b', re.MULTILINE
    )
    files = [file for file in Path(ROOT, 'mmmamba').rglob('*.py') if file.parent.name != 'analysis']  # benchmarks may
    found = [file for file in files if foreign.search(file.read_text())]
    assert not found
