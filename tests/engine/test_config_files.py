"""Finding configs by name, in a clone and in an installed package."""

import shutil
from pathlib import Path

import pytest

import mmmamba
from mmmamba.engine import UserError
from mmmamba.engine.config_files import config_files, config_names, configs_folder, find_config

ROOT = Path(__file__).parents[2]


def test_the_clone_has_its_configs_beside_the_package():
    assert configs_folder() == ROOT / 'configs'


def test_an_installed_package_has_them_in_mim(tmp_path, monkeypatch):
    package = tmp_path / 'site-packages' / 'mmmamba'
    shutil.copytree(ROOT / 'configs' / '_base_', package / '.mim' / 'configs' / '_base_')
    monkeypatch.setattr(mmmamba, '__file__', str(package / '__init__.py'))
    assert configs_folder() == package / '.mim' / 'configs'


def test_a_package_without_configs_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(mmmamba, '__file__', str(tmp_path / 'mmmamba' / '__init__.py'))
    with pytest.raises(UserError, match='no configs beside'):
        configs_folder()


def test_no_two_configs_have_one_name():
    assert len(config_files()) == len(list((ROOT / 'configs').glob('[!_]*/*.py')))


def test_names_match_a_pattern_and_any_rest():
    assert 'vmamba-t_8xb128-300e_in1k' in config_names('vmamba-t_')
    assert all(name.startswith('mask-rcnn') and 'vmamba-s' in name for name in config_names('mask-rcnn_*vmamba-s'))
    assert config_names('zebra') == []
    assert len(config_names()) == len(config_files())


@pytest.mark.parametrize('name', ['vmamba-t_8xb128-300e_in1k', 'vmamba-t_8xb128-300e_in1k.py'])
def test_a_config_is_found_by_name(name):
    assert find_config(name) == ROOT / 'configs/vmamba/vmamba-t_8xb128-300e_in1k.py'


def test_a_misspelt_name_gets_a_suggestion():
    with pytest.raises(UserError, match=r'did you mean vmamba-t_8xb128-300e_in1k'):
        find_config('vmamba-t_8xb128_in1k')
    with pytest.raises(UserError, match=r'did you mean'):
        find_config('nowhere/vmamba-t_8xb128_in1k.py')
