"""Are the files there that a config's datasets name? Asked before anything is built."""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmmamba.errors import UserError


def check_data_paths(cfg: Config, dataloaders: tuple[str, ...]) -> None:
    """Look for the data root, annotation file and folders of each dataset.

    Args:
        cfg: the config.
        dataloaders: names of the entries to look at, ``('train_dataloader', ...)``.

    Raises:
        UserError: if one is missing; the message names the entry to set.
    """
    for name in dataloaders:
        if cfg.get(name) is not None:
            for where, dataset in _leaves(cfg[name].dataset, f'{name}.dataset'):
                _check(dataset, where)


def _leaves(dataset: dict, where: str) -> Iterator[tuple[str, dict]]:
    if 'dataset' in dataset:
        yield from _leaves(dataset['dataset'], f'{where}.dataset')
    elif 'datasets' in dataset:
        for i, each in enumerate(dataset['datasets']):
            yield from _leaves(each, f'{where}.datasets.{i}')
    else:
        yield where, dataset


def _check(dataset: dict, where: str) -> None:
    if dataset.get('backend_args'):  # elsewhere than on this disk
        return
    root = dataset.get('data_root') or ''
    if root and not _exists(root):
        raise UserError(
            f'data root {root!r} does not exist; put or link the data set there, or say where it is: '
            f'--cfg-options {where}.data_root=PATH (train, val and test each have one)'
        )
    prefixes = dataset.get('data_prefix') or {}
    named = dict(prefixes) if isinstance(prefixes, dict) else {'': prefixes}
    paths = {f'data_prefix.{key}'.rstrip('.'): value for key, value in named.items()}
    paths['ann_file'] = dataset.get('ann_file')
    for key, path in paths.items():
        if path and not _exists(Path(root) / path if '://' not in path else path):
            raise UserError(
                f'{str(Path(root) / path)!r} does not exist; it is {where}.{key} of the config, looked for in the data '
                f'root {root!r}; put it there, or set --cfg-options {where}.{key}=PATH'
            )


def _exists(path: str | Path) -> bool:
    return '://' in str(path) or Path(path).exists()
