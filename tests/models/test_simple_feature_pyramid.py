"""The simple feature pyramid, alone and between a plain backbone and the heads of mmdet and mmseg."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch.nn import functional as F

from mmmamba.models.necks import SimpleFeaturePyramid
from mmmamba.registry import MODELS

BASES = Path(__file__).parents[2] / 'configs' / '_base_' / 'models'
PLAIN = dict(  # one map of stride 16
    type='mmmamba.PlainMamba', arch=dict(embed_dims=16, num_layers=4, img_size=(64, 64), d_state=2), out_indices=(-1,)
)


def build(**options):
    torch.manual_seed(0)
    return SimpleFeaturePyramid(**dict(in_channels=16, out_channels=8) | options)


@pytest.mark.parametrize('size', [(1, 1), (4, 6), (5, 7), (13, 3)], ids=str)
def test_levels_have_the_scales_and_are_rounded_up(size):
    outs = build(num_outs=5)([torch.randn(2, 16, *size)])
    factors = (4, 2, 1, 1 / 2, 1 / 4)
    assert [tuple(out.shape) for out in outs] == [(2, 8, *(-int(-n * f // 1) for n in size)) for f in factors]
    assert all(out.isfinite().all() for out in outs)


def test_a_backbone_of_stride_8_has_scales_of_its_own():
    outs = build(scales=(2, 1, 0.5, 0.25))([torch.randn(1, 16, 9, 8)])
    assert [tuple(out.shape[2:]) for out in outs] == [(18, 16), (9, 8), (5, 4), (3, 2)]


@pytest.mark.parametrize('norm', ['LN', 'BN'])
def test_every_parameter_gets_a_finite_gradient(norm):
    neck = build(norm=norm)
    outs = neck([torch.randn(2, 16, 5, 7)])
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() for out in outs).backward()
    bad = [n for n, p in neck.named_parameters() if p.grad is None or not 0 < p.grad.abs().max() < float('inf')]
    assert not bad


def test_the_finest_level_is_the_published_one():
    """Deconvolution, LayerNorm over channels, GELU, deconvolution; 1x1 and 3x3 convolution, a LayerNorm after each."""
    neck = build()
    deconv1, norm1, _, deconv2, conv1, norm2, conv2, norm3 = neck.levels[0]
    x = torch.randn(2, 16, 3, 5)

    def layer_norm(x):
        x = x - x.mean(1, keepdim=True)
        return x / (x.square().mean(1, keepdim=True) + norm1.norm.eps).sqrt()

    for norm in (norm1, norm2, norm3):  # as they start
        assert torch.equal(norm.norm.weight, torch.ones_like(norm.norm.weight))
        assert torch.equal(norm.norm.bias, torch.zeros_like(norm.norm.bias))
    y = F.gelu(layer_norm(F.conv_transpose2d(x, deconv1.weight, deconv1.bias, stride=2)))
    y = F.conv_transpose2d(y, deconv2.weight, deconv2.bias, stride=2)
    y = layer_norm(F.conv2d(y, conv1.weight))
    y = layer_norm(F.conv2d(y, conv2.weight, padding=1))
    torch.testing.assert_close(neck([x])[0], y, rtol=1e-4, atol=1e-5)


def test_maps_of_several_layers_make_a_level_each():
    neck = build().eval()
    maps = list(torch.randn(4, 1, 16, 5, 6))
    before = neck(maps)
    maps[2] = maps[2] + torch.randn_like(maps[2])
    changed = [not torch.equal(a, b) for a, b in zip(before, neck(maps), strict=True)]
    assert changed == [False, False, True, False]


@pytest.mark.parametrize(('options', 'message'), [
    (dict(scales=(4, 3)), 'scale 3 is not a power of two'),
    (dict(scales=(0,)), 'scale 0 is not a power of two'),
    (dict(in_channels=6), 'in_channels 6 cannot be halved 2 times, as scale 4 needs'),
    (dict(num_outs=3), r'num_outs 3 is less than the number of scales, \(4, 2, 1, 0.5\)'),
    (dict(norm='IN'), r"norm 'IN' is not one of \['BN', 'LN'"),
])  # fmt: skip
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


def test_a_wrong_number_of_maps_is_named():
    with pytest.raises(ValueError, match='expected one map or 4, one for each scale, got 2; set the backbone'):
        build()(list(torch.randn(2, 1, 16, 5, 6)))


@pytest.fixture(scope='module')
def detector():
    cfg = Config.fromfile(BASES / 'mask-rcnn_simple-fpn.py').model
    cfg.backbone = PLAIN
    cfg.neck.update(in_channels=16, out_channels=8)
    cfg.rpn_head.update(in_channels=8, feat_channels=8)
    for name in ('bbox', 'mask'):
        cfg.roi_head[f'{name}_roi_extractor'].out_channels = 8
        cfg.roi_head[f'{name}_head'].in_channels = 8
    cfg.roi_head.bbox_head.fc_out_channels = 8
    cfg.roi_head.mask_head.conv_out_channels = 8
    cfg.train_cfg.rpn_proposal.max_per_img = cfg.test_cfg.rpn.max_per_img = 20  # a test's worth
    cfg.train_cfg.rcnn.sampler.num = 16
    cfg.test_cfg.rcnn.max_per_img = 3
    init_default_scope('mmdet')
    torch.manual_seed(0)
    return MODELS.build(cfg)


@pytest.mark.parametrize('size', [(70, 131), (128, 64)], ids=str)
def test_mask_rcnn_trains_and_predicts_on_a_plain_backbone(size, detector):
    from mmdet.testing import demo_mm_inputs  # after mmmamba, which gives mmcv its ops

    detector.train()
    batch = demo_mm_inputs(2, [(3, *size)] * 2, num_items=[2, 2], num_classes=80, with_mask=True)
    data = detector.data_preprocessor(batch, training=True)
    losses = detector.loss(data['inputs'], data['data_samples'])
    detector.parse_losses(losses)[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.neck.parameters())
    detector.eval()
    with torch.no_grad():
        found = detector.test_step(batch)[0].pred_instances
    assert found.masks.shape[1:] == size


@pytest.mark.parametrize('base', ['upernet.py', 'upernet_plain.py'])
def test_upernet_trains_and_predicts_on_a_plain_backbone(base):
    cfg = Config.fromfile(BASES / base).model
    cfg.backbone = PLAIN
    if base == 'upernet.py':
        cfg.neck = dict(type='mmmamba.SimpleFeaturePyramid', in_channels=16, out_channels=8)
        channels = 8
    else:
        channels = cfg.neck.embed_dim = 16
        cfg.backbone.out_indices = (0, 1, 2, 3)
    cfg.decode_head.update(in_channels=[channels] * 4, channels=8)
    cfg.auxiliary_head.update(in_channels=channels, channels=8)
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    size = (70, 131)
    x = torch.randn(2, 3, *size)
    samples = [SegDataSample(gt_sem_seg=PixelData(data=torch.randint(0, 150, (1, *size)))) for _ in x]
    for sample in samples:
        sample.set_metainfo(dict(img_shape=size, ori_shape=size))
    model.parse_losses(model.loss(x, samples))[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.neck.parameters())
    with torch.no_grad():
        predicted = model.eval().predict(x, samples)
    assert predicted[0].pred_sem_seg.shape == size
