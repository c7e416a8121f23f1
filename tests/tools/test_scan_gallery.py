"""The gallery of routes."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mmmamba.analysis.scan_gallery import SMALL, draw_path, gallery_routes
from mmmamba.scans import MODIFIERS, VOLUME_MODIFIERS, parse_route, route_names

TOOL = Path(__file__).parents[2] / 'tools' / 'analysis_tools' / 'scan_gallery.py'


def test_every_route_and_modifier_is_drawn():
    names = {name for group in gallery_routes().values() for name in group}
    assert {SMALL.get(name, name) for name in [*route_names(), *route_names(3)]} <= names
    drawn = {modifier for name in names for modifier in name.split('.')[1:]}
    assert drawn == {*MODIFIERS, *VOLUME_MODIFIERS}


@pytest.mark.parametrize('name', ['snake', 'wrapped_diagonal', 'shuffle'])
def test_a_path_joins_its_steps_in_order_and_numbers_them(name):
    rows, cols = 3, 4
    order = parse_route(name).order(rows, cols).tolist()
    axes = Figure().subplots()
    draw_path(axes, order, rows, cols)
    numbers = {tuple(map(round, text.get_position())): int(text.get_text()) for text in axes.texts}
    assert numbers == {(pixel % cols, pixel // cols): step for step, pixel in enumerate(order)}
    joins = [line.get_xydata() for line in axes.lines if len(line.get_xydata()) == 2]
    assert len(joins) == len(order) - 1
    for step, join in enumerate(joins):
        ends = [[order[i] % cols, order[i] // cols] for i in (step, step + 1)]
        assert np.array_equal(join, ends)
    top, bottom = axes.get_ylim()[1], axes.get_ylim()[0]
    assert top < bottom  # row 0 is at the top


def test_tool_writes_one_figure_with_all_and_one_for_each(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['scan_gallery.py', '--out', str(tmp_path)])
    runpy.run_path(str(TOOL), run_name='__main__')
    names = {name for group in gallery_routes().values() for name in group}
    assert {file.stem for file in tmp_path.glob('*.png')} == {'scan_gallery', *(n.replace(':', '-') for n in names)}
    assert 'scan_gallery.png' in capsys.readouterr().out
    with Image.open(tmp_path / 'scan_gallery.png') as image:
        assert np.asarray(image.convert('L')).std() > 10
