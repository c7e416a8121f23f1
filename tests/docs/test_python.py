"""The Python of the documentation runs: examples, the configs it shows, and the worked example of a backbone."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from pages import PAGES, ROOT, Block, blocks, commands
from PIL import Image

from mmmamba.apis import get_model
from mmmamba.checkpoints import export
from mmmamba.engine import train
from mmmamba.engine.config import load_config
from mmmamba.engine.data_paths import check_data_paths
from mmmamba.models import VMamba
from mmmamba.registry import MODELS, SCANS

PYTHON = [block for page in PAGES for block in blocks(page, 'python')]
CONFIGS = [block for block in PYTHON if '_base_ =' in block.text]
EXAMPLES = [block for block in PYTHON if block not in CONFIGS and not block.title]
MY_DATA = ROOT / 'docs/own_data.md'
OWN_BACKBONE = ROOT / 'docs/own_backbone.md'
ONE_BLOCK_A_STAGE = dict(_delete_=True, embed_dims=[96, 192, 384, 768], depths=[1, 1, 1, 1])


def with_id(found: list[Block]):
    return pytest.mark.parametrize('block', found, ids=[block.id for block in found])


@pytest.fixture(autouse=True)
def registries_as_before():
    before = [(registry, dict(registry._module_dict)) for registry in (MODELS, SCANS)]
    yield
    for registry, modules in before:
        registry._module_dict.clear()
        registry._module_dict.update(modules)


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The current folder: our configs, and room for the reader's files."""
    (tmp_path / 'configs').mkdir()
    for family in (ROOT / 'configs').iterdir():
        (tmp_path / 'configs' / family.name).symlink_to(family)
    (tmp_path / 'tools').symlink_to(ROOT / 'tools')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def is_slow(block: Block) -> bool:
    return '.pth' in block.text or 'export_onnx' in block.text


def write(block: Block, folder: Path) -> Path:
    path = folder / (block.title or 'configs/my_models/untitled.py')
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text)
    return path


def write_with_bases(block: Block, folder: Path) -> Path:
    """Write the configs of a page that have names, on which this one may be based, and this one."""
    for other in CONFIGS:
        if other.page == block.page and other.title:
            write(other, folder)
    return write(block, folder)


def run(block: Block) -> None:
    names = {'torch': torch, 'images': torch.rand(1, 3, 64, 64)}
    exec(compile(block.text, block.id, 'exec'), names)


@with_id([block for block in EXAMPLES if not is_slow(block)])
def test_example_runs(block, folder):
    run(block)


@pytest.mark.slow
@with_id([block for block in EXAMPLES if is_slow(block)])
def test_example_with_weights_or_an_export_runs(block, folder):
    torch.save({'model': export(VMamba('tiny_s1l8'))}, 'vssm1_tiny_0230s_ckpt_epoch_264.pth')
    torch.save({'state_dict': get_model('mask-rcnn_vmamba-t_fpn_1x_coco').state_dict()}, 'epoch_12.pth')
    classifier = get_model('vmamba-t_8xb128-300e_in1k')
    if 'get_model' in block.text:
        torch.save({'state_dict': classifier.state_dict()}, 'vssm1_tiny_0230s_ckpt_epoch_264.pth')
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save('photo.jpg')
    run(block)


@with_id([block for block in CONFIGS if block.page != OWN_BACKBONE])
def test_config_loads(block, folder):
    cfg = load_config(str(write_with_bases(block, folder)))
    assert cfg.default_scope in ('mmdet', 'mmseg', 'mmpretrain')
    assert cfg.model.backbone.type == 'mmmamba.VMamba'


@pytest.fixture
def my_data(folder) -> Path:
    """Four images of each kind, where the page says they lie."""
    rng = np.random.default_rng(0)
    for split in ('train', 'val'):
        boxes, maps = folder / 'data/my_boxes', folder / 'data/my_maps'
        images, annotations = [], []
        for i in range(4):
            picture = Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8))
            labels = Image.fromarray(rng.integers(0, 3, (48, 64), dtype=np.uint8))
            one_class = folder / 'data/my_classes' / split / ('cat', 'dog')[i % 2]
            rgb, thermal = boxes / split / 'rgb', boxes / split / 'thermal'
            for each in (rgb, thermal, maps / 'img_dir' / split, maps / 'ann_dir' / split, one_class):
                each.mkdir(parents=True, exist_ok=True)
            picture.save(boxes / split / f'{i}.jpg')
            picture.save(rgb / f'{i}.jpg')
            labels.save(thermal / f'{i}.png')
            picture.save(maps / 'img_dir' / split / f'{i}.jpg')
            picture.save(one_class / f'{i}.jpg')
            labels.save(maps / 'ann_dir' / split / f'{i}.png')
            images.append(dict(id=i, file_name=f'{i}.jpg', height=48, width=64))
            square = dict(bbox=[8, 8, 24, 24], area=576, segmentation=[[8, 8, 32, 8, 32, 32, 8, 32]], iscrowd=0)
            annotations.append(dict(square, id=i + 1, image_id=i, category_id=7 + i % 2))
        categories = [dict(id=7, name='dog'), dict(id=8, name='cat')]
        content = dict(images=images, annotations=annotations, categories=categories)
        (boxes / f'{split}.json').write_text(json.dumps(content))
    return folder


@pytest.mark.slow
@with_id(blocks(MY_DATA, 'python'))
def test_the_config_of_my_data_trains(block, my_data, no_formatting):
    path = write_with_bases(block, my_data)
    cfg = load_config(str(path))
    check_data_paths(cfg, ('train_dataloader', 'val_dataloader'))
    brief = {'type': 'IterBasedTrainLoop', 'max_iters': 2, 'val_interval': 10, '_delete_': True}
    options = {
        'model.backbone.arch': ONE_BLOCK_A_STAGE,
        'train_cfg': brief,
        'param_scheduler': [],
        'train_dataloader.batch_size': 2,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.checkpoint.by_epoch': False,
        'default_hooks.checkpoint.interval': 2,
    }
    train(str(path), work_dir=str(my_data / 'out'), options=options)
    assert (my_data / 'out/iter_2.pth').is_file()


@pytest.fixture
def own_backbone(folder, monkeypatch) -> Path:
    """The files of the worked example; the path of its config."""
    files = [write(block, folder) for block in blocks(OWN_BACKBONE, 'python')]
    monkeypatch.syspath_prepend(str(folder))
    yield files[-1]
    for name in [name for name in sys.modules if name.split('.')[0] == 'my_project']:
        del sys.modules[name]


def test_the_worked_example_builds_and_runs(own_backbone):
    model = get_model(own_backbone)
    assert type(model.backbone).__name__ == 'RowColumn'
    assert model(torch.rand(2, 3, 30, 50), mode='tensor').shape == (2, 10)
    model.backbone(torch.rand(1, 3, 17, 23))[0].sum().backward()
    assert all(p.grad is not None for p in model.backbone.parameters())


@pytest.mark.slow
def test_the_commands_of_the_worked_example_run(own_backbone, folder, no_formatting):
    from mmmamba.datasets import Settings, prepare_handwriting

    lines = [line for line, inline in commands(OWN_BACKBONE) if not inline]
    assert any('prepare_handwriting' in line for line in lines)
    prepare_handwriting('data/handwriting', Settings(seed=0), report=lambda line: None)
    options = {
        'train_cfg.max_epochs': 1,
        'train_dataloader.dataset.indices': 64,
        'val_dataloader.dataset.indices': 20,
    }
    train(str(own_backbone), work_dir='work_dirs/row-column', options=options)
    assert Path('work_dirs/row-column/epoch_1.pth').is_file()
