"""Running a tool in this process, tiny weights of the demo's three models, and a small version of its data."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mmmamba.apis import get_model
from mmmamba.datasets import Settings, handwriting_folder, load_scans, prepare_handwriting

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


@pytest.fixture(scope='session')
def handwriting(tmp_path_factory):
    """Folder with four scenes to train on and three to evaluate, of 96 pixels, and 60 single digits."""
    scans = load_scans()
    root = tmp_path_factory.mktemp('data') / 'handwriting'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(handwriting_folder, 'load_scans', lambda: scans.take(np.arange(60)))
        prepare_handwriting(root, Settings(train_scenes=4, val_scenes=3, val_scans=20, size=96))
    return root


@pytest.fixture
def demo(handwriting, tmp_path):
    """Name of the demo's config by task, and the flags that point it to the small data."""

    def config(task: str) -> tuple[str, list[str]]:
        folder = handwriting / dict(cls='imagenet', det='coco', seg='ade20k')[task]
        splits = ('train', 'val', 'test')
        options = [f'{split}_dataloader.dataset.data_root={folder}' for split in splits]
        options += [
            f'{split}_dataloader.{key}' for split in splits for key in ('num_workers=0', 'persistent_workers=0')
        ]
        if task == 'det':
            options.append('model.test_cfg.rcnn.max_per_img=5')
            options += [f'{split}_evaluator.ann_file={folder}/annotations/instances_val.json' for split in splits[1:]]
        return DEMO[task], ['--cfg-options', *options, f'work_dir={tmp_path}']

    return config
