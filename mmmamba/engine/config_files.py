"""Where our configs lie, in a clone or inside an installed wheel, and what they are called."""

import difflib
import fnmatch
from pathlib import Path

import mmmamba
from mmmamba.errors import UserError


def configs_folder() -> Path:
    """The folder ``configs``: beside the package in a clone or an editable install, else ``mmmamba/.mim/configs``.

    Raises:
        UserError: if it is in neither place.
    """
    package = Path(mmmamba.__file__).parent
    for folder in (package.parent / 'configs', package / '.mim' / 'configs'):
        if (folder / '_base_' / 'default_runtime_det.py').is_file():
            return folder
    raise UserError(f'there are no configs beside {package} and none in its .mim folder; install mmmamba again')


def config_files() -> dict[str, Path]:
    """Every config that can be run, by its name: the file's without ``.py``; bases are left out."""
    files = sorted(configs_folder().glob('[!_]*/*.py'))
    return {file.stem: file for file in files}


def config_names(pattern: str | None = None) -> list[str]:
    """Sorted names of configs.

    Args:
        pattern: with the wildcards ``*``, ``?`` and ``[...]``; any rest may follow, as in mmpretrain. None is all.
    """
    names = sorted(config_files())
    return names if pattern is None else fnmatch.filter(names, f'{pattern}*')


def find_config(name: str | Path) -> Path:
    """The file of a config.

    Args:
        name: path of a file, or the name of a config of ours, ``'vmamba-t_8xb128-300e_in1k'``.

    Raises:
        UserError: if there is no such file and no such name; the message suggests near ones.
    """
    if Path(name).is_file():
        return Path(name)
    files = config_files()
    stem = Path(name).name.removesuffix('.py')
    if str(name).removesuffix('.py') == stem and stem in files:
        return files[stem]
    beside = [str(file) for file in Path(name).parent.glob('*.py')]
    close = difflib.get_close_matches(str(name), beside, n=3) or difflib.get_close_matches(stem, files, n=3)
    hint = f'did you mean {" or ".join(close)}?' if close else 'mmmamba.apis.list_models() names those there are'
    raise UserError(f'config {str(name)!r} does not exist, as a file or as a name; {hint}')
