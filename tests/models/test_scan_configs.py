"""Scans set from the command line: ``--cfg-options model.backbone.scan=...`` builds, differs and learns."""

import argparse
import json

import pytest
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DefaultScope
from torch import nn
from torch.nn import functional as F

from mmmamba.checkpoints import load_file
from mmmamba.datasets import Settings, prepare_handwriting
from mmmamba.engine import train
from mmmamba.layers.scans import LocalScan, LocalSearch
from mmmamba.models import VMamba
from mmmamba.registry import MODELS
from mmmamba.scans import NAMED_SCANS, NAMED_SCHEDULES, SCAN_MODULES, build_scan, route_names, scan_of_layer

# As a user types them.
ROUTES = [f'[{name}]' for name in route_names() if name != 'raster']
SCANS = [
    *(name for name in NAMED_SCANS if build_scan(name).axes == 2),
    *(name for name in NAMED_SCHEDULES if build_scan(scan_of_layer(name, 0, [6])).axes == 2),
    'hierarchical',
    *SCAN_MODULES.module_dict,
    '[raster,atrous,hilbert.reverse]',
    'raster+window:2.rotate90',
    'atrous:3',
    'local:raster/window:3/window:3.reverse',
    'per_stage:window:2/cross',
    'alternating:raster/snake.transpose',
]


def parse(argument):
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args(['--cfg-options', f'model.backbone.scan={argument}']).cfg_options


def build(argument):
    cfg = Config(dict(model=dict(backbone=dict(
        type='VMamba', arch=dict(embed_dims=[16, 24], depths=[1, 1], patch_size=2), out_indices=(1,)))))  # fmt: skip
    cfg.merge_from_dict(parse(argument))
    torch.manual_seed(0)
    return MODELS.build(cfg.model.backbone)


@pytest.fixture(scope='module')
def digits():
    """64 handwritten digits as colour images (64, 3, 16, 16), and their classes."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = torch.from_numpy(data.images[:64]).float().unsqueeze(1).expand(-1, 3, -1, -1) / 8 - 1
    return F.interpolate(images, scale_factor=2), torch.from_numpy(data.target[:64])


@pytest.mark.parametrize('argument', SCANS)
def test_every_scan_learns_in_twenty_iterations(argument, digits):
    images, classes = digits
    backbone, head = build(argument).train(), nn.Linear(24, 10)
    optimizer = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], lr=3e-3)
    losses = []
    for i in range(20):
        batch = slice(i % 4 * 16, i % 4 * 16 + 16)
        loss = F.cross_entropy(head(backbone(images[batch])[0].mean((2, 3))), classes[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])


def test_a_list_from_the_command_line_is_a_sum_of_routes():
    mixer = build('[raster,atrous,hilbert.reverse]').stages[0].blocks[0].mixer
    assert mixer.scan.names == ('raster', 'atrous', 'hilbert.reverse')


def test_schedules_give_each_block_its_own():
    model = VMamba(dict(embed_dims=[8, 16], depths=[1, 2]), out_indices=(1,), scan='alternating:raster/snake+spiral')
    names = [block.mixer.scan.names for stage in model.stages for block in stage.blocks]
    assert names == [('raster',), ('snake', 'spiral'), ('raster',)]


@pytest.mark.parametrize(('scan', 'message'), [
    ('per_stage:cross/raster/snake', r'has 3 scans for 2 stages; give one for each stage'),
    ('alternating:raster/zebra', r"scan or route 'zebra' is unknown; scans: .*cross.*adaptive.*routes: .*raster"),
    ('bidirectional_3d', r"scan 'bidirectional_3d' is for volumes, this mixer for maps; scans: "),
])  # fmt: skip
def test_bad_scans_are_named(scan, message):
    with pytest.raises(ValueError, match=message):
        VMamba(dict(embed_dims=[8, 16], depths=[1, 1]), out_indices=(1,), scan=scan)


@pytest.mark.parametrize('scan', [['raster', 'snake', 'spiral', 'radial'], 'rotations', 'omnidirectional', 'hilbert'])
def test_lists_of_routes_keep_the_names_of_vmamba(scan):
    arch = dict(embed_dims=[8, 16], depths=[1, 1])
    names = VMamba(arch, out_indices=(1,)).state_dict().keys()
    assert VMamba(arch, out_indices=(1,), scan=scan).state_dict().keys() == names


# The search, through the launcher.

CONFIG = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['mmmamba'], allow_failed_imports=False)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(mean=[127.5] * 3, std=[127.5] * 3, num_classes=2),
    backbone=dict(type='mmmamba.VMamba', arch=dict(embed_dims=[8, 16], depths=[1, 1], patch_size=2), out_indices=(1,)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16, loss=dict(type='CrossEntropyLoss')))
train_dataloader = dict(
    batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root={root!r}, data_prefix='train',
                 pipeline=[dict(type='LoadImageFromFile'), dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-2))
"""


@pytest.fixture
def config(tmp_path):
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for i in range(8):
        path = tmp_path / 'images' / 'train' / 'ab'[i % 2] / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(path)
    file = tmp_path / 'search.py'
    file.write_text(CONFIG.format(root=str(tmp_path / 'images')))
    return str(file)


@pytest.fixture(autouse=True)
def _scope_of_other_tests_stays(monkeypatch):
    """A runner makes its library the default scope for the rest of the process."""
    monkeypatch.setattr(DefaultScope, '_instance_dict', DefaultScope._instance_dict.copy())


@pytest.mark.parametrize('begin', [None, 2])
def test_hook_freezes_the_routes_found_prints_them_and_writes_the_config(begin, config, tmp_path, capfd):
    hooks = [dict(type='mmmamba.FreezeRoutesHook', count=3, begin=begin)]
    options = {**parse('local_search'), 'custom_hooks': hooks}
    train(config, work_dir=str(tmp_path / 'out'), options=options)
    said = capfd.readouterr()
    assert 'backbone.stages.1.blocks.0.mixer.scan: keeps ' in said.out + said.err
    scan = json.loads((tmp_path / 'out' / 'searched_scan.json').read_text())
    model = VMamba(dict(embed_dims=[8, 16], depths=[1, 1]), out_indices=(1,), scan=scan)
    scans = [stage.blocks[0].mixer.scan for stage in model.stages]
    assert all(isinstance(s, LocalScan) and not isinstance(s, LocalSearch) and len(s.routes) == 3 for s in scans)
    weights = load_file(tmp_path / 'out' / 'epoch_2.pth')['state_dict']
    kept = weights['backbone.stages.0.blocks.0.mixer.scan.kept']
    assert kept.sum() == (0 if begin is None else 3)  # after the last checkpoint, or before it


def test_hook_without_a_search_says_so(config, tmp_path):
    options = {'custom_hooks': [dict(type='mmmamba.FreezeRoutesHook', begin=0)]}
    with pytest.raises(ValueError, match="no layer has the scan 'local_search'; set model.backbone.scan to it"):
        train(config, work_dir=str(tmp_path), options=options)


@pytest.fixture(scope='session')
def single_digits(tmp_path_factory):
    """The data root of the demo's classifier: all its digits, which do not depend on the scenes, and no scene."""
    root = tmp_path_factory.mktemp('data') / 'handwriting'
    prepare_handwriting(root, Settings(train_scenes=0, val_scenes=0))
    return root / 'imagenet'


@pytest.mark.slow
@pytest.mark.parametrize('argument', [*SCANS, *ROUTES])
def test_demo_classifier_learns_with_every_scan(argument, single_digits, tmp_path):
    options = {
        **parse(argument), 'param_scheduler': [], 'train_dataloader.dataset.data_root': str(single_digits),
        'train_cfg': dict(_delete_=True, type='IterBasedTrainLoop', max_iters=20),
        'default_hooks.logger.interval': 1, 'default_hooks.checkpoint.interval': -1,
        'default_hooks.checkpoint.save_last': False, 'custom_hooks': [], 'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False, 'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None,
    }  # fmt: skip
    if argument.startswith('per_stage'):
        options['model.backbone.scan'] += '/cross/cross'
    train('configs/demo/cls_vmamba-nano_handwriting.py', work_dir=str(tmp_path), options=options)
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    losses = [json.loads(line)['loss'] for line in log.read_text().splitlines()]
    assert len(losses) == 20
    assert sum(losses[-5:]) < sum(losses[:5])
