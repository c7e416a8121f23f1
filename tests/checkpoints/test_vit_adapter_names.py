"""The authors' detectors with PlainMamba in a ViT-Adapter: their names, and what they compute."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from mmmamba.checkpoints import CheckpointError, convert, export, load_weights
from mmmamba.checkpoints.families import family_of
from mmmamba.checkpoints.vit_adapter import VIT_ADAPTER
from mmmamba.registry import MODELS

ARCH = dict(embed_dims=12, num_layers=4, dwconv_layers=(0,), d_state=2)
ADAPTER = dict(type='mmmamba.ViTAdapter', num_heads=2, stem_dims=4, backbone=dict(type='mmmamba.PlainMamba', arch=ARCH))
# Names that the authors' modules give, and ours.
NAMES = {
    'backbone.pos_embed': 'backbone.backbone.pos_embed.weight',
    'backbone.level_embed': 'backbone.level_embed',
    'backbone.patch_embed.projection.weight': 'backbone.backbone.patch_embed.conv.weight',
    'backbone.layers.0.dw.0.weight': 'backbone.backbone.layers.0.dwconv.0.weight',
    'backbone.layers.3.mamba.in_proj.weight': 'backbone.backbone.layers.3.mixer.in_proj.weight',
    'backbone.spm.stem.0.weight': 'backbone.prior.stem.0.0.weight',
    'backbone.spm.stem.4.running_mean': 'backbone.prior.stem.1.1.running_mean',
    'backbone.spm.stem.6.weight': 'backbone.prior.stem.2.0.weight',
    'backbone.spm.conv4.1.num_batches_tracked': 'backbone.prior.convs.2.1.num_batches_tracked',
    'backbone.spm.fc1.bias': 'backbone.prior.projs.0.bias',
    'backbone.interactions.0.injector.gamma': 'backbone.injectors.0.gamma',
    'backbone.interactions.1.extractor.ffn.dwconv.dwconv.weight': 'backbone.extractors.1.0.ffn.dwconv.weight',
    'backbone.interactions.2.injector.attn.sampling_offsets.bias': 'backbone.injectors.2.attn.sampling_offsets.bias',
    'backbone.interactions.3.extra_extractors.0.attn.value_proj.bias': 'backbone.extractors.3.1.attn.value_proj.bias',
    'backbone.interactions.3.extra_extractors.1.ffn_norm.bias': 'backbone.extractors.3.2.ffn_norm.bias',
    'backbone.up.bias': 'backbone.up.bias',
    'backbone.ad_norm4.running_var': 'backbone.out_norms.3.running_var',
    'neck.lateral_convs.0.bn.weight': 'neck.lateral_convs.0.bn.weight',
}


def detector(seed=0, **adapter):
    torch.manual_seed(seed)
    neck = dict(type='mmdet.FPN', in_channels=[12] * 4, out_channels=8, num_outs=5, norm_cfg=dict(type='BN'))
    head = dict(type='mmdet.RetinaHead', num_classes=3, in_channels=8, stacked_convs=1, feat_channels=8)
    return MODELS.build(dict(type='mmdet.RetinaNet', backbone=dict(ADAPTER, **adapter), neck=neck, bbox_head=head))


def test_names_are_the_authors():
    model = detector()
    published = export(model)
    own = model.state_dict()
    assert len(published) == len(own)
    for theirs, ours in NAMES.items():
        assert published[theirs].flatten().equal(own[ours].flatten()), theirs
    order = [name for name in published if name in NAMES]
    assert order == list(NAMES)


def test_a_published_detector_loads_and_converts_both_ways():
    model, twin = detector(), detector(seed=1)
    published = export(model)
    load_weights(twin, dict(state_dict=published))
    expected = model.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in twin.state_dict().items())
    there = convert(dict(state_dict=published))
    assert there.family is VIT_ADAPTER is family_of(model)
    assert there.weights.keys() == expected.keys()
    back = convert(there.weights)
    assert back.family is VIT_ADAPTER
    assert list(back.weights) == list(published)
    assert all(torch.equal(value, published[name]) for name, value in back.weights.items())


def test_the_classifier_inside_is_of_plain_mamba():
    assert family_of(detector().backbone).name == 'plain_mamba'


def test_a_detector_of_another_size_is_named():
    published = export(detector(backbone=dict(type='mmmamba.PlainMamba', arch=dict(ARCH, num_layers=5))))
    with pytest.raises(CheckpointError, match=r'holds a ViTAdapter\(PlainMamba\) dict\(.*num_layers=5'):
        load_weights(detector(), published)


@pytest.mark.parametrize(('name', 'heads', 'ends'), [('l1', 6, (5, 11, 17, 23)), ('l3', 8, (8, 17, 26, 35))])
def test_published_arguments_build_the_config_of_the_detector(name, heads, ends):
    starts = (0, *(end + 1 for end in ends[:-1]))
    sizes = dict(l1=dict(embed_dims=192, num_layers=24), l3=dict(embed_dims=448, num_layers=36))
    kwargs = dict(
        sizes[name],
        deform_num_heads=heads,
        interaction_indexes=[list(pair) for pair in zip(starts, ends, strict=True)],
        drop_path_rate=0.3,
        final_norm=False,
        layer_cfgs=dict(mamba_cfg=dict(d_state=16, expand=2, conv_size=7, conv_bias=True, bias=True)),
    )
    with torch.device('meta'):
        model = MODELS.build(VIT_ADAPTER.model_config('PlainMambaAdapter', kwargs))
    assert tuple(run[-1] for run in model.runs) == ends
    assert model.injectors[0].attn.samples == (heads, 3, 4)
    assert model.extractors[0][0].drop_path.p == 0.3


def test_arguments_without_a_counterpart_are_named():
    for changed in (dict(use_extra_extractor=False), dict(interaction_indexes=[[0, 3], [4, 23]]), dict(stripes=7)):
        (name,) = changed
        with pytest.raises(ValueError, match=f'{name}.* (not supported|not known)'):
            VIT_ADAPTER.model_config('PlainMambaAdapter', changed)


def published_forward(weights, backbone, image, heads):
    """What the authors' adapter does, from its published tensors; the layers inside are those of ``backbone``."""
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch  # once mmmamba serves mmcv._ext

    batch, _, height, width = image.shape
    grids = [(height // stride, width // stride) for stride in (8, 16, 32)]
    bounds = [0, *itertools.accumulate(h * w for h, w in grids)]

    def linear(name, x):
        return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])

    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'], 1e-6)

    def batch_norm(name, x):
        values = [weights[f'{name}.{leaf}'] for leaf in ('running_mean', 'running_var', 'weight', 'bias')]
        return F.batch_norm(x, *values)

    def conv(name, x, **options):
        return F.conv2d(x, weights[f'{name}.weight'], weights.get(f'{name}.bias'), **options)

    def conv_norm(name, x, first=0, stride=2):
        x = conv(f'{name}.{first}', x, stride=stride, padding=1)
        return F.relu(batch_norm(f'{name}.{first + 1}', x))

    def sequence(x):
        return x.flatten(2).transpose(1, 2)

    def centres(shapes):
        points = [
            ((col + 0.5) / w, (row + 0.5) / h) for h, w in shapes for row, col in itertools.product(range(h), range(w))
        ]
        return image.new_tensor(points)

    def attend(name, query, query_grids, feat, feat_grids):
        query, feat = norm(f'{name}.query_norm', query), norm(f'{name}.feat_norm', feat)
        levels, shape = len(feat_grids), (batch, query.shape[1], heads, len(feat_grids), 4)
        value = linear(f'{name}.attn.value_proj', feat).view(batch, feat.shape[1], heads, -1)
        offsets = linear(f'{name}.attn.sampling_offsets', query).view(*shape, 2)
        attention = linear(f'{name}.attn.attention_weights', query).view(*shape[:3], 4 * levels).softmax(-1).view(shape)
        sizes = image.new_tensor([(w, h) for h, w in feat_grids])
        places = centres(query_grids)[None, :, None, None, None] + offsets / sizes[:, None]
        out = multi_scale_deformable_attn_pytorch(value, torch.tensor(feat_grids), places, attention)
        return linear(f'{name}.attn.output_proj', out)

    def extract(name, c, x):
        c = c + attend(name, c, grids, sequence(x), grids[1:2])
        hidden = linear(f'{name}.ffn.fc1', norm(f'{name}.ffn_norm', c))
        maps = [
            hidden[:, start:stop].transpose(1, 2).reshape(batch, -1, *grid)
            for start, stop, grid in zip(bounds, bounds[1:], grids, strict=False)
        ]
        groups = maps[0].shape[1]
        maps = [sequence(conv(f'{name}.ffn.dwconv.dwconv', y, padding=1, groups=groups)) for y in maps]
        return c + linear(f'{name}.ffn.fc2', F.gelu(torch.cat(maps, 1)))

    c1 = conv_norm('spm.stem', image)
    c1 = conv_norm('spm.stem', conv_norm('spm.stem', c1, 3, 1), 6, 1)
    c1 = F.max_pool2d(c1, 3, 2, 1)
    c2 = conv_norm('spm.conv2', c1)
    c3 = conv_norm('spm.conv3', c2)
    c4 = conv_norm('spm.conv4', c3)
    c1, *rest = (conv(f'spm.fc{i}', x) for i, x in enumerate((c1, c2, c3, c4), start=1))
    c = torch.cat([sequence(x) + embed for x, embed in zip(rest, weights['level_embed'], strict=True)], 1)
    x, _ = backbone.start(image)
    x = x.permute(0, 3, 1, 2)
    for i, layer in enumerate(backbone.layers):  # four interactions of one layer each
        name = f'interactions.{i}'
        update = attend(f'{name}.injector', sequence(x), grids[1:2], c, grids)
        x = x + (weights[f'{name}.injector.gamma'] * update).transpose(1, 2).view_as(x)
        x = layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        c = extract(f'{name}.extractor', c, x)
    for extra in (0, 1):
        c = extract(f'interactions.3.extra_extractors.{extra}', c, x)
    c2, c3, c4 = (
        c[:, start:stop].transpose(1, 2).reshape(batch, -1, *grid)
        for start, stop, grid in zip(bounds, bounds[1:], grids, strict=False)
    )
    c1 = c1 + F.conv_transpose2d(c2, weights['up.weight'], weights['up.bias'], stride=2)
    outs = []
    for i, (c, scale) in enumerate(zip((c1, c2, c3, c4), (4, 2, 1, 0.5), strict=True), start=1):
        resized = F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)
        outs.append(batch_norm(f'ad_norm{i}', c + resized))
    return outs


def test_published_weights_give_what_the_authors_adapter_gives():
    model = detector().double().eval()
    with torch.no_grad():
        for name, tensor in model.backbone.state_dict().items():
            if tensor.is_floating_point():
                tensor.add_(torch.rand_like(tensor) * (0.3 if 'running_var' in name else 0.1))
        image = torch.randn(2, 3, 64, 96).double()
        weights = {
            name.removeprefix('backbone.'): tensor for name, tensor in export(model).items() if 'backbone.' in name
        }
        expected = published_forward(weights, model.backbone.backbone, image, heads=2)
        found = model.backbone(image)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
