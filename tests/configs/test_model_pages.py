"""README.md and metafile.yml of a family list the same configs with the same figures, and all of them."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = sorted(ROOT.glob('configs/*/metafile.yml'))


@pytest.fixture(params=PAGES, ids=lambda page: page.parent.name)
def folder(request):
    return request.param.parent


def test_every_config_has_an_entry(folder):
    entries = _entries(folder)
    assert sorted(entries) == sorted(path.stem for path in folder.glob('*.py'))
    assert all(entry['Config'] == f'configs/{folder.name}/{name}.py' for name, entry in entries.items())


def test_readme_and_metafile_agree(folder):
    rows = _rows(folder)
    entries = _entries(folder)
    assert sorted(rows) == sorted(entries)
    for name, entry in entries.items():
        assert rows[name] == _as_row(name, entry)


def test_readme_follows_the_house_order(folder):
    headings = re.findall(r'^##? (.*)$', (folder / 'README.md').read_text(), flags=re.MULTILINE)
    assert headings[1:] == ['Train and test', 'Figures', "What differs from the authors' code", 'Citation']


def test_model_index_lists_every_family():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [str(page.relative_to(ROOT)) for page in PAGES]


def _entries(folder: Path) -> dict[str, dict]:
    return {entry['Name']: entry for entry in yaml.safe_load((folder / 'metafile.yml').read_text())['Models']}


def _rows(folder: Path) -> dict[str, dict]:
    """Rows of the README's tables by config; a column of figures that holds a dash is left out."""
    rows, header = {}, []
    for line in (folder / 'README.md').read_text().splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if cells[0] == 'config':
            header = cells
        elif link := re.fullmatch(r'\[(.+)\]\((.+)\)', cells[0]):
            row = dict(zip(header, cells, strict=True))
            rows[link[1]] = {'config': link[2], **{key: row[key] for key in header[1:] if row[key] != '–'}}
    return rows


def _as_row(name: str, entry: dict) -> dict:
    """What the README must say of a metafile's entry."""
    metadata = entry['Metadata']
    row = {'config': f'{name}.py', 'params': f'{metadata["Parameters"] / 1e6:.2f} M'}
    if 'FLOPs' in metadata:  # the authors'; left out where they print none
        flops = metadata['FLOPs'] / 1e9
        row['FLOPs'] = f'{flops:.1f} G' if flops < 100 else f'{flops:.0f} G'
    for result in entry.get('Results', []):
        source = {'authors': "authors'", 'ours': 'our'}[result['Source']]
        row.update({f'{source} {metric}': str(value) for metric, value in result['Metrics'].items()})
        if 'Device' in result:
            row['device, date'] = f'{result["Device"]}, {result["Date"]}'
    return row
