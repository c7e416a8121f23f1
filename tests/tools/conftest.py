"""Running a tool in this process, and tiny weights of the demo's three models."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from mmmamba.apis import get_model

TOOLS = Path(__file__).parents[2] / 'tools'
DEMO = {
    'cls': 'cls_vmamba-nano_handwriting',
    'det': 'mask-rcnn_vmamba-nano_handwriting',
    'seg': 'upernet_vmamba-nano_handwriting',
}


@pytest.fixture
def run_tool(monkeypatch):
    """Call ``run_tool('analysis_tools/get_flops.py', CONFIG, ...)``: its ``main`` with these arguments."""

    def run(tool, *arguments):
        spec = importlib.util.spec_from_file_location(Path(tool).stem, TOOLS / tool)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        module.main()

    return run


@pytest.fixture(scope='session')
def demo_weights(tmp_path_factory):
    """Path of fresh weights by task, ``cls``, ``det`` or ``seg``."""
    folder = tmp_path_factory.mktemp('weights')

    def weights(task: str) -> Path:
        path = folder / f'{task}.pth'
        if not path.is_file():
            torch.manual_seed(0)
            torch.save({'state_dict': get_model(DEMO[task]).state_dict()}, path)
        return path

    return weights
