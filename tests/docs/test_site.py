"""make docs: the site builds strictly."""

import os
import subprocess
import sys

import pytest
import yaml
from pages import ROOT


def listed(entries: list) -> list[str]:
    """The pages of a navigation, at any depth."""
    targets = [target for entry in entries for target in entry.values()]
    return [page for target in targets for page in (listed(target) if isinstance(target, list) else [target])]


def test_every_page_is_in_the_navigation():
    nav = yaml.safe_load((ROOT / 'mkdocs.yml').read_text())['nav']
    assert {page.name for page in (ROOT / 'docs').glob('*.md')} <= set(listed(nav))


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip('material')
    build = [sys.executable, '-m', 'mkdocs', 'build', '--strict', '--site-dir', str(tmp_path)]
    environment = {**os.environ, 'NO_MKDOCS_2_WARNING': '1'}
    done = subprocess.run(build, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 'WARNING' not in done.stderr
    for page in (ROOT / 'docs').glob('*.md'):
        name = 'index.html' if page.stem == 'index' else f'{page.stem}/index.html'
        assert (tmp_path / name).is_file()
