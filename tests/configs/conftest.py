"""mmengine reads the hundred metafiles of a library for each `mmdet::` or `mmpretrain::` base; here, once."""

import functools

import pytest
from mmengine.config import utils


@pytest.fixture(scope='session', autouse=True)
def _metafiles_are_read_once():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, 'load', functools.cache(utils.load))
        yield
