"""README.md and metafile.yml of a family list the same configs with the same figures, and all of them."""

import re
from pathlib import Path

import pytest
import yaml
from modelindex.load_model_index import load as load_model_index

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


def test_readme_gives_a_reason_for_every_count_that_is_two_percent_off(folder):
    apart = {
        name
        for name, entry in _entries(folder).items()
        if 'Published FLOPs' in (metadata := entry['Metadata'])
        and abs(metadata['FLOPs'] / metadata['Published FLOPs'] - 1) > 0.02
    }
    _, _, section = (folder / 'README.md').read_text().partition('### Where the counts differ\n')
    explained = re.findall(r'^- ((?:`[^`]+`,?\s+)*`[^`]+`):\s+\S', section.partition('\n## ')[0], flags=re.MULTILINE)
    assert {name for names in explained for name in re.findall('`([^`]+)`', names)} == apart


def test_entries_count_here_and_mark_what_is_published(folder):
    for entry in _entries(folder).values():
        counted = {'Training Data', 'Parameters', 'FLOPs'}
        assert counted <= set(entry['Metadata']) <= counted | {'Published Parameters', 'Published FLOPs'}
        for result in entry.get('Results', []):
            assert result['Source'] in ('authors', 'ours')
            assert (result['Source'] == 'ours') == ('Device' in result) == ('Date' in result)


def test_collection_names_the_family_and_files_that_exist(folder):
    page = yaml.safe_load((folder / 'metafile.yml').read_text())
    (collection,) = page['Collections']
    assert {entry['In Collection'] for entry in page['Models']} == {collection['Name']}
    assert collection['README'] == f'configs/{folder.name}/README.md'
    assert (ROOT / collection['Code']).is_file()
    readme, paper = (folder / 'README.md').read_text(), collection['Paper']
    assert f'[{paper["Title"]}]({paper["URL"]})' in readme
    cited = re.search(r'^  title=\{(.*)\},$', readme, flags=re.MULTILINE)[1]
    assert re.sub('[{}]', '', cited).lower() == paper['Title'].lower()


def test_readme_trains_and_tests_configs_of_the_family(folder):
    readme = (folder / 'README.md').read_text()
    named = re.findall(r'configs/\w+/[\w.-]+\.py', readme)
    assert {'tools/train.py', 'tools/dist_train.sh', 'tools/test.py'} <= set(re.findall(r'tools/\w+\.\w+', readme))
    assert all(path.startswith(f'configs/{folder.name}/') and (ROOT / path).is_file() for path in named)


def test_model_index_lists_every_family():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    assert index['Import'] == [str(page.relative_to(ROOT)) for page in PAGES]


def test_reader_of_mim_finds_every_model():
    index = load_model_index(str(ROOT / 'model-index.yml'))
    index.build_models_with_collections()
    assert sorted(model.name for model in index.models) == sorted(
        name for page in PAGES for name in _entries(page.parent)
    )


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
    giga = metadata['FLOPs'] / 1e9
    row = {
        'config': f'{name}.py',
        'our params': f'{metadata["Parameters"] / 1e6:.2f} M',
        'our FLOPs': f'{giga:.{2 if giga < 10 else 1 if giga < 100 else 0}f} G',
    }
    if 'Published Parameters' in metadata:  # left out where the authors print none
        row["authors' params"] = f'{metadata["Published Parameters"] / 1e6:g} M'
    if 'Published FLOPs' in metadata:
        row["authors' FLOPs"] = f'{metadata["Published FLOPs"] / 1e9:g} G'
    for result in entry.get('Results', []):
        source = {'authors': "authors'", 'ours': 'our'}[result['Source']]
        row.update({f'{source} {metric}': str(value) for metric, value in result['Metrics'].items()})
        if 'Device' in result:
            row['device, date'] = f'{result["Device"]}, {result["Date"]}'
    return row
