"""Every backbone, as small as in the contract, learns as the demo's detector, on images of an odd size, not square."""

from pathlib import Path

import mmmamba  # noqa: F401 - before mmdet: it readies mmcv's ops

# isort: split
import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from test_backbone_contract import CASES

from mmmamba.datasets.handwriting import compose_scene, load_scans
from mmmamba.engine.config import load_config
from mmmamba.models.necks import SimpleFeaturePyramid
from mmmamba.registry import MODELS

CONFIG = Path(__file__).parents[2] / 'configs' / 'demo' / 'mask-rcnn_vmamba-nano_handwriting.py'
HEIGHT, WIDTH = 101, 75
STRIDES = {'RSMamba': 4}  # of the plain backbones, where it is not 8


@pytest.fixture(scope='module')
def batches():
    """Five batches of four images with digits."""
    rng, scans = np.random.default_rng(0), load_scans()
    samples = [_sample(compose_scene(scans, rng)) for _ in range(20)]
    return [samples[i : i + 4] for i in range(0, 20, 4)]


def _sample(scene):
    masks = scene.masks[:, :HEIGHT, :WIDTH]
    seen = masks.sum((1, 2)) > 40
    masks, labels = masks[seen], scene.labels[seen]
    boxes = [[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] for ys, xs in map(np.nonzero, masks)]
    sample = DetDataSample(metainfo=dict(img_shape=(HEIGHT, WIDTH), ori_shape=(HEIGHT, WIDTH), scale_factor=(1, 1)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor(np.array(boxes, dtype=np.float32).reshape(-1, 4)),
        labels=torch.from_numpy(labels),
        masks=BitmapMasks(masks.astype(np.uint8), HEIGHT, WIDTH),
    )
    sample.ignored_instances = InstanceData(bboxes=torch.empty(0, 4), labels=torch.empty(0, dtype=torch.long))
    image = np.ascontiguousarray(scene.image[:HEIGHT, :WIDTH].transpose(2, 0, 1))
    return dict(inputs=torch.from_numpy(image), data_samples=sample)


def build(name, adapter):
    """The demo's detector on a backbone of the contract's; a plain one has a simple feature pyramid or an adapter."""
    model, case = load_config(str(CONFIG)).model, CASES[name]
    plain = 'num_layers' in case.arch
    indices = case.out_indices[-1:] if plain else case.out_indices
    model.backbone = dict(type=f'mmmamba.{name}', arch=case.arch, out_indices=indices, **case.options)
    model.data_preprocessor.pad_size_divisor = 1
    if adapter:
        model.backbone = dict(type='mmmamba.ViTAdapter', backbone=model.backbone, num_heads=2, num_interactions=3)
        model.neck.in_channels = [case.arch['embed_dims']] * 4
    elif plain:
        scales = [STRIDES.get(name, 8) / stride for stride in (4, 8, 16, 32)]
        kind = f'mmmamba.{SimpleFeaturePyramid.__name__}'
        model.neck = dict(type=kind, in_channels=case.arch['embed_dims'], out_channels=64, scales=scales)
    else:
        model.neck.in_channels = case.arch['embed_dims']
    init_default_scope('mmdet')
    return MODELS.build(model)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'adapter'), [*((name, False) for name in CASES), ('PlainMamba', True), ('Vim', True)], ids=str
)
def test_every_backbone_learns_as_a_detector_in_twenty_iterations(name, adapter, batches):
    torch.manual_seed(0)
    model = build(name, adapter).train()
    model.init_weights()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for i in range(20):
        batch = batches[i % 5]
        data = model.data_preprocessor(
            dict(inputs=[s['inputs'] for s in batch], data_samples=[s['data_samples'] for s in batch]), training=True
        )
        loss, _ = model.parse_losses(model(**data, mode='loss'))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10)
        optimizer.step()
        losses.append(loss.item())
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert all(parameter.isfinite().all() for parameter in model.parameters())
