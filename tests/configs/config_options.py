"""Reading a config as the launcher does, with options written as on its command line."""

import argparse
from pathlib import Path

from mmengine.config import Config, DictAction

from mmmamba.engine.config import load_config


def load_with_options(path: Path, options: str = '') -> Config:
    """The config with ``--cfg-options`` applied.

    Args:
        path: of the config.
        options: ``key.sub=value`` with spaces between; no value may have one.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction)
    args = parser.parse_args(['--cfg-options', *options.split()])
    return load_config(str(path), args.cfg_options)
