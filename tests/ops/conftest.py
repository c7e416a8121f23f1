"""For every test of an op: memory that nobody has written holds NaN."""

import pytest
import torch


@pytest.fixture(autouse=True)
def fill_uninitialised_memory_with_nan(monkeypatch):
    for name in ('empty', 'empty_like'):
        monkeypatch.setattr(torch, name, _filled(getattr(torch, name)))


def _filled(make):
    def make_and_fill(*args, **kwargs):
        tensor = make(*args, **kwargs)
        return tensor.fill_(float('nan')) if tensor.is_floating_point() else tensor

    return make_and_fill
