"""ViT-Adapter around every plain backbone."""

import pytest
import torch
from test_backbone_contract import CASES

from mmmamba.checkpoints import export
from mmmamba.models import backbones
from mmmamba.models.adapters.vit_adapter import to_maps, to_sequence
from mmmamba.models.backbones.plain_backbone import PlainBackbone
from mmmamba.registry import MODELS

PLAIN = sorted(name for name in CASES if issubclass(getattr(backbones, name), PlainBackbone))
SMALL = dict(num_heads=2, stem_dims=4, num_interactions=3)
SIZE = (37, 70)
every_plain_backbone = pytest.mark.parametrize('name', PLAIN)


def inner(name, **options):
    return dict(type=name, arch=CASES[name].arch, in_channels=1, drop_path_rate=0.0, **options)


def build(name='PlainMamba', seed=0, backbone=None, **options):
    """A small adapter with values that show what they do."""
    torch.manual_seed(seed)
    model = MODELS.build(dict(type='ViTAdapter', backbone=inner(name, **(backbone or {})), **SMALL | options))
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero, or all alike, would hide the rest
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def image(seed=1, size=SIZE):
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(seed))


def gradients(model):
    torch.manual_seed(5)  # for what is drawn in training
    outs = model.train()(image())
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).mean() for out in outs).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_all_plain_backbones_of_the_issue_are_there():
    assert PLAIN == ['LocalVim', 'MambaND', 'MambaR', 'PlainMamba', 'RSMamba', 'Vim', 'VimF']


@every_plain_backbone
@pytest.mark.parametrize('size', [(37, 70), (1, 33)], ids=str)
def test_maps_have_strides_4_to_32_at_any_size(name, size):
    with torch.no_grad():
        outs = build(name).eval()(image(size=size))
    assert [tuple(out.shape) for out in outs] == [(2, 16, -(-size[0] // s), -(-size[1] // s)) for s in (4, 8, 16, 32)]
    assert all(out.isfinite().all() for out in outs)


@every_plain_backbone
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name):
    bad = [key for key, grad in gradients(build(name)).items() if grad is None or not 0 < grad.abs().max() < torch.inf]
    assert not bad


@pytest.mark.parametrize('name', ['PlainMamba', 'MambaR'])
def test_recomputation_does_not_change_gradients(name):
    plain = gradients(build(name, drop_path_rate=0.3))
    recomputed = gradients(build(name, drop_path_rate=0.3, with_cp=True, backbone=dict(with_cp=True)))
    assert all(torch.equal(grad, recomputed[key]) for key, grad in plain.items())


@every_plain_backbone
def test_autocast_gives_finite_maps_and_gradients(name):
    model = build(name).train()
    with torch.autocast('cpu', torch.bfloat16):
        outs = model(image())
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_plain_backbone
def test_an_adapter_in_half_precision_gives_maps_and_gradients_of_its_dtype(name):
    model = build(name).train().bfloat16()
    outs = model(image().bfloat16())
    assert all(out.dtype == torch.bfloat16 for out in outs)
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_plain_backbone
def test_without_injection_the_trunk_is_the_backbone(name):
    model, alone = build(name).eval(), MODELS.build(inner(name)).eval()
    alone.out_norms = torch.nn.ModuleDict({key: torch.nn.Identity() for key in alone.out_norms})
    alone.load_state_dict(model.backbone.state_dict())
    for injector in model.injectors:
        torch.nn.init.zeros_(injector.gamma)
    padded = image(size=(64, 96))
    with torch.no_grad():
        trunk, _ = model._interact(padded, torch.zeros(2, 126, 16), [(8, 12), (4, 6), (2, 3)])
        torch.testing.assert_close(trunk, alone(padded)[0])


@every_plain_backbone
def test_injection_changes_the_patches_and_only_these(name):
    backbone = MODELS.build(inner(name)).eval()
    with torch.no_grad():
        x, context = backbone.start(image())
        patches = backbone.patches(x, context)
        changed = backbone.with_patches(x, patches + 1, context)
    torch.testing.assert_close(backbone.patches(changed, context), patches + 1)
    assert changed.shape == x.shape
    torch.testing.assert_close(backbone.with_patches(changed, patches, context), x)


def test_maps_and_sequences_are_each_others_reverse():
    maps = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 2, 3)]
    again = to_maps(to_sequence(maps), [(4, 5), (2, 3)])
    assert all(torch.equal(a, b) for a, b in zip(maps, again, strict=True))


def test_an_image_is_as_if_padded_with_zeros():
    model = build().eval()
    x = image()
    padded = torch.zeros(2, 1, 64, 96)
    padded[:, :, : SIZE[0], : SIZE[1]] = x
    with torch.no_grad():
        cut, whole = model(x), model(padded)
    assert all(torch.equal(a, b[:, :, : a.shape[2], : a.shape[3]]) for a, b in zip(cut, whole, strict=True))


@pytest.mark.parametrize('name', ['PlainMamba', 'Vim'])
def test_published_classifiers_start_the_trunk(name, tmp_path):
    torch.manual_seed(3)
    classifier = MODELS.build(inner(name))
    path = tmp_path / 'published.pth'
    torch.save(dict(state_dict=export(classifier)), path)
    model = build(name, backbone=dict(init_cfg=dict(type='mmmamba.Pretrained', checkpoint=str(path))))
    before = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith('backbone.')}
    model.init_weights()
    own, expected = model.backbone.state_dict(), classifier.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in own.items())
    assert {key for key in expected if key not in own} == {key for key in expected if key.startswith('out_norms.')}
    after = model.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_frozen_layers_stay_frozen_and_the_adapter_trains():
    model = build(backbone=dict(frozen_stages=3)).train()
    frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f'backbone.{key}' for key, _ in model.backbone.named_parameters()}
    assert not model.backbone.patch_embed.training
    assert {key for key, grad in gradients(model).items() if grad is None} == frozen


def test_depths_and_blocks_are_those_of_the_backbone():
    model = build()
    assert model.blocks() == list(model.backbone.layers)
    assert model.get_layer_depth('backbone.backbone.layers.1.norm.weight', 'backbone.') == (2, 5)
    assert model.get_layer_depth('backbone.backbone.patch_embed.conv.weight', 'backbone.') == (0, 5)
    for name in ('backbone.injectors.0.gamma', 'backbone.level_embed', 'neck.convs.0.weight'):
        assert model.get_layer_depth(name, 'backbone.') == (4, 5)


def test_layers_are_shared_out_in_equal_runs():
    arch = dict(embed_dims=12, num_layers=10, d_state=1)
    with torch.device('meta'):
        model = MODELS.build(dict(type='ViTAdapter', backbone=dict(type='PlainMamba', arch=arch)))
    assert [list(run) for run in model.runs] == [[0, 1], [2, 3, 4], [5, 6], [7, 8, 9]]
    assert [len(extractors) for extractors in model.extractors] == [1, 1, 1, 3]
    with pytest.raises(ValueError, match='num_interactions 4 is not between 1 and 3, the number of layers'):
        build(num_interactions=4)


def test_an_image_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r'images of shape \(2, 3, 37, 70\) do not fit a backbone of in_channels=1'):
        build()(torch.randn(2, 3, *SIZE))


def test_a_backbone_with_stages_is_refused():
    with pytest.raises(ValueError, match="backbone 'VMamba' is not a plain one"):
        build('VMamba')
