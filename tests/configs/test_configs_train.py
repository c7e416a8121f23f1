"""Configs train, two iterations and a validation, through options that a user could give; TTA runs.

Models keep their size; images are 64 pixels high, and detectors learn from 16 RoIs an image in place of 512.
"""

import re
from pathlib import Path

import pytest
import torch
from config_options import load_with_options
from tiny_data import make_ade20k, make_coco, make_imagenet

from mmmamba.engine import Runner
from mmmamba.engine.config import enable_tta

CONFIGS = Path(__file__).parents[2] / 'configs'
IN_EVERY_RUN = re.compile('vmamba/(.*_)?vmamba-[tsb]_.*')  # not the variants of each size, nor the other families
CLIPS = ('mamba-3d-s_8xb16-51e_ucf101',)  # trained by tests/datasets/test_clips.py
COMMON = """
    work_dir={work_dir}
    default_hooks.checkpoint.interval=-1 default_hooks.checkpoint.save_last=False
    train_dataloader.num_workers=0 train_dataloader.persistent_workers=False train_dataloader.batch_size=2
    val_dataloader.num_workers=0 val_dataloader.persistent_workers=False
    train_dataloader.dataset.data_root={root} val_dataloader.dataset.data_root={root}
    param_scheduler.0.start_factor=1.0 model.backbone.drop_path_rate=0.0 randomness.seed=0
"""
COCO = """
    val_evaluator.ann_file={root}/annotations/instances_val2017.json
    val_dataloader.dataset.pipeline.1.scale=(96,64)
"""
DETECTORS = {  # those that learn from RoIs
    'mask-rcnn': 'model.train_cfg.rcnn.sampler.num=16',
    # Its anchors have to lie inside the image: of so small ones only those of the finest map would.
    'cascade-mask-rcnn': 'model.train_cfg.rpn.allowed_border=-1 '
    + ' '.join(f'model.train_cfg.rcnn.{i}.sampler.num=16' for i in range(3)),
}
TASKS = {
    'fpn_1x_coco': (make_coco, COCO + 'train_cfg.max_epochs=1 train_dataloader.dataset.pipeline.2.scale=(96,64)'),
    'lsj-100e_coco': (
        make_coco,
        COCO
        + """
        train_cfg.max_iters=2 train_cfg.val_interval=2 model.data_preprocessor.pad_size_divisor=32
        train_dataloader.dataset.pipeline.3.scale=(64,64) train_dataloader.dataset.pipeline.3.ratio_range=(0.8,1.6)
        train_dataloader.dataset.pipeline.4.crop_size=(64,64)
        """,
    ),
    'fpn_ms-3x_coco': (
        make_coco,
        COCO
        + """
        train_cfg.max_epochs=1
        train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(64,96),(72,96)]
        train_dataloader.dataset.pipeline.3.transforms.1.0.scales=[(64,96)]
        train_dataloader.dataset.pipeline.3.transforms.1.1.crop_size=(64,80)
        train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(64,96),(72,96)]
        """,
    ),
    '160k_ade20k-512x512': (
        make_ade20k,
        """
        model.data_preprocessor.size=(64,64) train_cfg.max_iters=2
        train_dataloader.dataset.pipeline.2.scale=(128,64) train_dataloader.dataset.pipeline.3.crop_size=(64,64)
        val_dataloader.dataset.pipeline.1.scale=(128,64)
        """,
    ),
    'e_in1k': (
        make_imagenet,
        """
        train_cfg.max_epochs=1 param_scheduler.1.begin=0 train_dataloader.dataset.indices=4
        train_dataloader.dataset.pipeline.1.scale=64
        val_dataloader.batch_size=2
        val_dataloader.dataset.pipeline.1.scale=72 val_dataloader.dataset.pipeline.2.crop_size=64
        """,
    ),
}
TEACHER = dict(  # in place of one that has to be downloaded
    type='ImageClassifier',
    backbone=dict(type='ResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=1000, in_channels=512),
)


def _params() -> list:
    folders = [page.parent for page in CONFIGS.glob('*/metafile.yml')]
    names = sorted(
        f'{folder.name}/{path.stem}' for folder in folders for path in folder.glob('*.py') if path.stem not in CLIPS
    )
    return [pytest.param(name, marks=() if IN_EVERY_RUN.match(name) else pytest.mark.slow) for name in names]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The tiny data set that a generator makes, made once."""
    made = {}

    def root(make):
        if make not in made:
            made[make] = make(tmp_path_factory.mktemp(make.__name__))
        return made[make]

    return root


@pytest.mark.parametrize('name', _params())
def test_config_trains_two_iterations(name, data, tmp_path):
    make, options = next(TASKS[task] for task in TASKS if task in name)
    if name.startswith('mambavision/'):  # maps of a few pixels would be filled up to windows of 112
        options += ' model.backbone.window_sizes=(8,8,7,7)'
        if name.endswith('_in1k'):
            # Behind layer scales of 1e-5 the gradients of the biases of dt are 1e-10 at first; divided by LAMB's 1e-6,
            # they give steps of less than half a unit in the last place of the biases, and the test sees none.
            options += ' optim_wrapper.optimizer.eps=1e-12'
    if '-adapter_' in name:  # at 0, as published, what is behind it gets its first gradient in the third iteration
        options += ' model.backbone.layer_scale=0.1'
    options += ' ' + DETECTORS.get(name.split('/')[1].split('_')[0], '')
    if '_token-label_' in name:
        options += ' train_dataloader.dataset.pipeline.5.label_root={root}/token_labels'
    options = (COMMON + options).format(root=data(make), work_dir=tmp_path)
    cfg = load_with_options(CONFIGS / f'{name}.py', options)
    if '_distilled_' in name:
        cfg.custom_hooks[-1].teacher = TEACHER
    runner = Runner.from_cfg(cfg)
    before = {key: parameter.detach().clone() for key, parameter in runner.model.named_parameters()}

    runner.train()

    losses = torch.tensor(runner.message_hub.get_scalar('train/loss').data[0])
    assert losses.shape == (2,)
    assert losses.isfinite().all()
    after = dict(runner.model.named_parameters())
    stuck = [key for key in before if torch.equal(before[key], after[key])]
    # The block of GroupMamba's and SiMBA's class token scans one pixel: no state for the rates of decay to act on.
    class_block = re.compile(r'head\.(class_)?block\..*\.A_log')
    # RetinaNet has no use for the finest of an adapter's maps.
    finest = re.compile(r'backbone\.(prior\.projs\.0|up|out_norms\.0)\.\w+' if '/retinanet_' in name else r'(?!)')
    assert not [key for key in stuck if not class_block.fullmatch(key) and not finest.fullmatch(key)]


def test_segmentor_is_tested_at_many_scales(data, tmp_path):
    options = f"""
        work_dir={tmp_path} train_dataloader=None train_cfg=None optim_wrapper=None param_scheduler=None
        val_dataloader=None val_cfg=None val_evaluator=None test_dataloader.dataset.data_root={data(make_ade20k)}
        test_dataloader.num_workers=0 test_dataloader.persistent_workers=False test_dataloader.dataset.indices=1
    """
    cfg = load_with_options(CONFIGS / 'vmamba/upernet_vmamba-t_8xb2-160k_ade20k-512x512.py', options)
    enable_tta(cfg)
    assert [len(transforms) for transforms in cfg.tta_pipeline[1].transforms] == [6, 2, 1, 1]

    metrics = Runner.from_cfg(cfg).test()

    assert 0 <= metrics['mIoU'] <= 100
