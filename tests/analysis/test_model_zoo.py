"""The model zoo's page: every figure in a column that says whose it is."""

import json
import runpy
import sys
from pathlib import Path

import pytest
import yaml

from mmmamba.analysis.model_zoo import Model, page, plot, read_models, read_references, read_throughput, speeds
from mmmamba.engine import UserError

ROOT = Path(__file__).parents[2]
AUTHORS = dict(Source='authors', Metrics={'top-1': 82.6})
OURS = dict(Source='ours', Metrics={'top-1': 81.9}, Device='8 x H100', Date='2026-11-26')


def entry(name, *results, **metadata):
    return dict(
        Name=name,
        Config=f'configs/vmamba/{name}.py',
        Results=list(results),
        **{
            'In Collection': 'VMamba',
            'Metadata': {'Training Data': 'ImageNet-1k', 'Parameters': 30_249_064, 'FLOPs': 4_905_572_352} | metadata,
        },
    )


@pytest.fixture
def models(tmp_path):
    published = {'Published Parameters': 30_000_000, 'Published FLOPs': 4_900_000_000}
    entries = [
        entry('vmamba-t_8xb128-300e_in1k', AUTHORS, OURS, **published),
        entry('vmamba-t-s2l5_8xb128-300e_in1k', AUTHORS),
    ]
    (tmp_path / 'metafile.yml').write_text(yaml.safe_dump(dict(Models=entries)))
    (tmp_path / 'model-index.yml').write_text(yaml.safe_dump(dict(Import=['metafile.yml'])))
    (tmp_path / 'configs').symlink_to(ROOT / 'configs')
    return read_models(tmp_path)


def rows(text, start):
    lines = text.splitlines()
    header = next(line for line in lines if line.startswith(start))
    first = lines.index(header) + 2
    cells = [[cell.strip() for cell in line[1:-1].split('|')] for line in lines[first:]]
    names = [cell.strip() for cell in header[1:-1].split('|')]
    end = next((i for i, line in enumerate(lines[first:]) if not line.startswith('|')), len(cells))
    return [dict(zip(names, row, strict=True)) for row in cells[:end]]


def test_published_and_our_figures_stand_in_columns_of_their_own(models):
    first, second = rows(page(models, [], {}, None), '| family | config')
    assert first == {
        'family': 'VMamba',
        'config': '[vmamba-t_8xb128-300e_in1k](../configs/vmamba/vmamba-t_8xb128-300e_in1k.py)',
        'our params': '30.25 M',
        'our FLOPs': '4.91 G',
        "authors' params": '30 M',
        "authors' FLOPs": '4.9 G',
        "authors' top-1": '82.6',
        'our top-1': '81.9',
        'device, date': '8 x H100, 2026-11-26',
    }
    assert (second["authors' FLOPs"], second['our FLOPs'], second['our top-1']) == ('–', '4.91 G', '–')


def test_page_says_that_throughput_is_not_measured(models):
    assert 'Throughput is not shown' in page(models, [], {}, None)
    assert 'Throughput is not shown' not in page(models, [], {'vmamba-t_8xb128-300e_in1k': 9000.0}, 'H100')


def test_throughput_is_ours_and_of_models_in_one_run(models, tmp_path):
    cell = dict(mode='inference', run='eager', size=[224, 224], batch=128, dtype='bf16')

    def row(model, speed, **differences):
        return dict(model=model, images_per_second=speed, cell=cell | differences)

    result = dict(device='H100', torch='2.14', rows=[
        row('vmamba-t_8xb128-300e_in1k', 9000.0), row('timm:convnext_tiny', 8000.0),
        row('vmamba-t_8xb128-300e_in1k', 700.0, batch=1), row('timm:convnext_tiny', 600.0, batch=1),
        row('vmamba-t_8xb128-300e_in1k', 15000.0, run='compiled'), row('timm:convnext_tiny', None, run='compiled'),
        row('timm:convnext_tiny', 99.0, mode='training'),
    ])  # fmt: skip
    (tmp_path / 'benchmark.json').write_text(json.dumps(result))
    device, speeds = read_throughput(tmp_path / 'benchmark.json')
    assert device == 'H100, torch 2.14, eager, bf16, batch 128'
    assert speeds == {'vmamba-t_8xb128-300e_in1k': 9000.0, 'timm:convnext_tiny': 8000.0}
    assert models[1].speed({'VMamba:tiny_s2l5': 3.0}) == 3.0  # as '*' names it
    references = read_references(ROOT / 'docs/reference_models.yml')
    text = page(models, references, speeds, device)
    assert [row['our img/s'] for row in rows(text, '| family | config')] == ['9000', '–']
    others = {row['model']: row for row in rows(text, '| family | model')}
    assert others['ConvNeXt-T']['our img/s'] == '8000'
    assert others['Swin-T']["authors' params"] == '28 M'
    assert f'same kind of machine: {device}.' in text
    plot(models, references, speeds, device, tmp_path / 'zoo.png')
    assert (tmp_path / 'zoo.png').stat().st_size > 10_000


def test_speed_is_a_row_for_each_model_and_a_column_for_each_way_it_was_timed(tmp_path):
    def row(model, batch, run, milliseconds, problem=None, mode='inference'):
        cell = dict(mode=mode, run=run, size=[224, 224], batch=batch, dtype='bf16')
        names = ('milliseconds', 'images_per_second', 'peak_mib')
        values = (None,) * 3 if problem else (milliseconds, batch * 1000 / milliseconds, batch * 10.0)
        return dict(model=model, cell=cell, problem=problem, **dict(zip(names, values, strict=True)))

    result = dict(device='H100', torch='2.14', date='2026-11-27', rows=[
        row('A:tiny', 1, 'eager', 4.0), row('A:tiny', 100, 'eager', 20.0), row('A:tiny', 100, 'graph', 10.0),
        row('B:tiny', 1, 'eager', 5.0), row('B:tiny', 100, 'eager', 50.0, problem='failed: no'),
        row('B:tiny', 100, 'eager', 1.0, mode='training'),
    ])  # fmt: skip
    (tmp_path / 'benchmark.json').write_text(json.dumps(result))
    a, b = rows(speeds(tmp_path / 'benchmark.json'), '| model |')
    assert a == {
        'model': 'A:tiny',
        'eager, bf16, ms': '4.00',
        'eager, bf16, img/s at 100': '5000',
        'graph, bf16, img/s at 100': '10000',
        'peak MiB at 100': '1000',
    }
    assert list(b.values()) == ['B:tiny', '5.00', '–', '–', '–']


def test_a_benchmark_without_the_size_of_the_page_is_refused(tmp_path):
    (tmp_path / 'b.json').write_text(json.dumps(dict(device='cpu', torch='2', rows=[])))
    with pytest.raises(UserError, match=r'has no inference at 224x224; run benchmark.py with --sizes 224'):
        read_throughput(tmp_path / 'b.json')


def test_references_are_published_figures_of_models_without_a_config():
    references = read_references(ROOT / 'docs/reference_models.yml')
    assert {'Swin', 'ConvNeXt', 'DeiT', 'InternImage'} == {model.family for model in references}
    assert all(isinstance(model, Model) and not model.is_ours and not model.measured for model in references)
    assert all(1e6 < model.published_parameters < 1e9 and model.published_flops > 1e9 for model in references)


def test_tool_writes_the_page_with_every_config(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['model_zoo.py', '--out', str(tmp_path)])
    runpy.run_path(str(ROOT / 'tools/misc/model_zoo.py'), run_name='__main__')
    text = (tmp_path / 'model_zoo.md').read_text()
    for metafile in ROOT.glob('configs/*/metafile.yml'):
        for model in yaml.safe_load(metafile.read_text())['Models']:
            assert f'[{model["Name"]}](../{model["Config"]})' in text
    assert (tmp_path / 'model_zoo.png').stat().st_size > 10_000
    assert text == (ROOT / 'docs/model_zoo.md').read_text(), 'run python tools/misc/model_zoo.py'
