"""Mamba-ND on clips: the contract of backbones, for clips, and what is particular to it."""

import pytest
import torch
from mmengine.model import BaseModule
from torchvision.ops import StochasticDepth

from mmmamba.checkpoints import CheckpointError, export, load_weights
from mmmamba.models import MambaND, MambaND3D, ViTAdapter
from mmmamba.registry import MODELS

ARCH = dict(
    embed_dims=16, num_layers=7, img_size=(32, 48), num_frames=4, patch_size=8, patch_frames=2, d_state=4
)  # fmt: skip
IMAGE_ARCH = dict(embed_dims=16, num_layers=7, img_size=(32, 48), patch_size=8, downsample_layers=(), d_state=4)
SIZE = (5, 37, 50)  # odd, no two alike, no multiple of any patch: a volume of 3 x 5 x 7


def build(seed=0, **options):
    """A backbone of one input channel, no dropping, and values that show what they do."""
    torch.manual_seed(seed)
    model = MambaND3D(**dict(arch=ARCH, in_channels=1, drop_path_rate=0.0, mixer_drop_rate=0.0) | options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


def clip(*size, channels=1):
    return torch.randn(2, channels, *(size or SIZE), generator=torch.Generator().manual_seed(1))


def gradients(model):
    torch.manual_seed(5)  # for what is drawn in training
    outs = model.train()(clip())
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).mean() for out in outs).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_parameters_are_those_counted_by_hand():
    dims, inner, rank, state = 384, 768, 24, 16
    layer = (
        2 * dims  # norm
        + (2 * inner + inner) * dims  # projections
        + (4 + 1) * inner  # convolution
        + (rank + 2 * state) * inner
        + (rank + 1) * inner  # step size
        + (state + 1) * inner  # A and D
    )
    for arch, frames, volumes in (('small', 2, 16), ('small_k400', 1, 16)):
        with torch.device('meta'):
            model = MODELS.build(dict(type='mmmamba.MambaND3D', arch=arch))
        stem = dims * (3 * frames * 16 * 16 + 1)
        expected = stem + volumes * 14 * 14 * dims + 24 * layer + 2 * dims
        assert sum(p.numel() for p in model.parameters()) == expected


def test_pairs_of_layers_walk_three_orders_both_ways():
    names = [layer.mixer.scan.names[0].removeprefix('raster_3d') for layer in build().layers]
    ways = ['', '.transpose', '.temporal.transpose']
    assert names == [way + turn for way in ways for turn in ('', '.reverse')] + ['']


def test_volumes_have_the_size_of_the_patches_and_are_independent_of_the_batch():
    model = build(out_indices=range(7)).eval()
    with torch.no_grad():
        outs, alone = model(clip()), model(clip()[1:])
    assert [tuple(out.shape) for out in outs] == [(2, 16, 3, 5, 7)] * 7
    for out, one in zip(outs, alone, strict=True):
        torch.testing.assert_close(out[1:], one, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(out[0], out[1])
    wanted = [-1, 2]
    chosen = build(out_indices=wanted).eval()
    chosen.load_state_dict({key: value for key, value in model.state_dict().items() if key in chosen.state_dict()})
    with torch.no_grad():
        assert identical(dict(enumerate(chosen(clip()))), {0: outs[2], 1: outs[6]})
    assert wanted == [-1, 2]


@pytest.mark.parametrize('size', [(1, 1, 1), (1, 9, 3), (7, 8, 17)], ids=str)
def test_clips_of_any_size_and_number_of_channels(size):
    with torch.no_grad():
        (out,) = build(in_channels=4).eval()(clip(*size, channels=4))
    assert out.shape == (2, 16, -(-size[0] // 2), -(-size[1] // 8), -(-size[2] // 8))
    assert out.isfinite().all()


def test_every_parameter_gets_a_finite_gradient_that_is_not_zero():
    grads = gradients(build(out_indices=range(7)))
    assert not [key for key, grad in grads.items() if grad is None or not 0 < grad.abs().max() < torch.inf]


def test_gradients_repeat_exactly_and_recomputing_layers_does_not_change_them():
    """Under random dropping, which the recomputation has to draw again as it was."""
    options = dict(drop_path_rate=0.3, mixer_drop_rate=0.1)
    first = gradients(build(**options))
    assert identical(first, gradients(build(**options)))
    assert identical(first, gradients(build(**options, with_cp=True)))


def test_what_a_layer_adds_is_dropped_in_training_as_released():
    rates = {layer.dropout.p for layer in MambaND3D(ARCH).layers}
    assert rates == {0.1}
    assert {layer.dropout.p for layer in MambaND(IMAGE_ARCH).layers} == {0.0}
    layer = build(mixer_drop_rate=0.5).layers[1].train()
    x = clip(3, 4, 5, channels=1).movedim(1, -1).repeat(1, 1, 1, 1, 16)
    added = layer(x) - layer.norm(x)
    assert 0.3 < (added == 0).float().mean() < 0.7
    torch.testing.assert_close(layer.eval()(x), layer.norm(x) + layer.mixer(layer.norm(x)))


def test_drop_path_grows_to_its_rate():
    rates = [module.p for module in build(drop_path_rate=0.6).modules() if isinstance(module, StochasticDepth)]
    assert rates == pytest.approx([0.1 * i for i in range(7)])


def test_frozen_parts_get_no_gradient_and_stay_in_evaluation_mode():
    for frozen_stages in (-1, 0, 2):
        model = build(out_indices=(0, 3), frozen_stages=frozen_stages)
        model.train()
        frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
        parts = () if frozen_stages < 0 else ('patch_embed', 'pos_embed')
        layers = tuple(f'layers.{i}.' for i in range(frozen_stages))
        norms = ('out_norms.0',) if frozen_stages > 0 else ()
        assert frozen == {key for key, _ in model.named_parameters() if key.startswith((*parts, *layers, *norms))}
        assert {key for key, grad in gradients(model).items() if grad is None} >= frozen
        assert model.layers[0].training == (frozen_stages < 1)
    assert model.get_layer_depth('layers.1.norm.weight') == (2, 9)


def test_autocast_gives_finite_volumes_and_gradients():
    model = build().train()
    with torch.autocast('cpu', torch.bfloat16):
        (out,) = model(clip())
    out.float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_other_routes_through_volumes_can_be_walked():
    model = build(scan='alternating:raster_3d/hilbert_3d.reverse')
    assert [layer.mixer.scan.names[0] for layer in model.layers[:3]] == ['raster_3d', 'hilbert_3d.reverse', 'raster_3d']
    assert model(clip())[0].isfinite().all()


def test_state_dict_is_taken_back():
    model, twin = build(), build(seed=1)
    report = load_weights(twin, dict(state_dict=model.state_dict()))
    assert report.matched == list(model.state_dict())
    assert identical(twin.state_dict(), model.state_dict())


@pytest.mark.parametrize('layout', ['ours', 'authors'])
def test_weights_of_images_see_in_a_still_clip_what_they_see_in_the_image(layout):
    """With every layer on the frames one after the other; of one frame, so that no layer sees another."""
    torch.manual_seed(0)
    image_model = MambaND(IMAGE_ARCH, in_channels=1, scan='raster').eval()
    weights = export(image_model) if layout == 'authors' else image_model.state_dict()
    model = build(arch=dict(ARCH, num_frames=2), scan='raster_3d').eval()
    report = load_weights(model, weights)
    assert report.adapted == {
        'patch_embed.conv.weight': 'inflated to 2 frames',
        'pos_embed.weight': 'spread over a grid of 1x4x6',
    }
    assert not report.missing
    assert not report.unexpected
    image = clip()[:, :, 0]
    with torch.no_grad():
        (out,), (expected,) = model(image[:, :, None].repeat(1, 1, 2, 1, 1)), image_model(image)
    torch.testing.assert_close(out[:, :, 0], expected, rtol=1e-4, atol=1e-5)


def test_a_config_inflates_weights_of_images_to_more_frames_and_channels(tmp_path):
    image_model = MambaND(dict(IMAGE_ARCH, img_size=64), in_channels=3)
    torch.save(dict(state_dict={f'backbone.{key}': value for key, value in image_model.state_dict().items()}),
               tmp_path / 'images.pth')  # fmt: skip
    init_cfg = dict(type='mmmamba.Pretrained', checkpoint=str(tmp_path / 'images.pth'))
    model = build(arch=dict(ARCH, num_frames=6), init_cfg=init_cfg)
    assert isinstance(model, BaseModule)
    model.init_weights()
    stem, frames = image_model.patch_embed.conv.weight, model.pos_embed.weight.view(3, 24, 16)
    torch.testing.assert_close(
        model.patch_embed.conv.weight, (stem.sum(1, keepdim=True) / 2)[:, :, None].repeat(1, 1, 2, 1, 1)
    )
    assert torch.equal(frames[0], image_model.pos_embed((4, 6))[0])
    assert torch.equal(frames[0], frames[2])
    assert torch.equal(model.layers[6].mixer.out_proj.weight, image_model.layers[6].mixer.out_proj.weight)


def test_weights_that_do_not_fit_are_named():
    halving = MambaND(dict(IMAGE_ARCH, downsample_layers=(1,)), in_channels=1)
    with pytest.raises(CheckpointError, match=r'3 are not expected \(downsamples.1.norm'):
        load_weights(build(), halving.state_dict())
    classifier = torch.nn.Module()
    classifier.backbone = build()
    images = MambaND(IMAGE_ARCH, in_channels=1).state_dict()
    with pytest.raises(CheckpointError, match=r'weights of images, .* give the backbone init_cfg=dict\('):
        load_weights(classifier, {f'backbone.{key}': value for key, value in images.items()})
    with pytest.raises(CheckpointError, match='build the model with the img_size and num_frames that they were'):
        load_weights(build(), build(arch=dict(ARCH, num_frames=8)).state_dict())
    published = export(MambaND(IMAGE_ARCH, in_channels=1))
    published['patch_embed.projection.weight'] = torch.zeros(16, 1, 2, 8, 8)
    with pytest.raises(CheckpointError, match='authors of MambaND, whose layout for clips has not been checked here'):
        load_weights(build(), published)
    with pytest.raises(CheckpointError, match='no key map for a MambaND3D'):
        export(build())


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match=r"arch 'base' is not one of \['small', 'small_k400'\]"):
        MambaND3D('base')
    with pytest.raises(ValueError, match='arch: patch_frames 0 must be a positive integer'):
        MambaND3D(dict(ARCH, patch_frames=0))
    with pytest.raises(ValueError, match="scan 'raster' is for maps, this mixer for volumes"):
        MambaND3D(ARCH, scan='mamba_nd')
    with pytest.raises(
        ValueError, match=r'clips of shape \(2, 1, 4, 4\) do not fit .* \(B, 1, T, H, W\); add the axis'
    ):
        build()(torch.zeros(2, 1, 4, 4))
    with pytest.raises(TypeError, match=r'clips hold torch.uint8, not floating point numbers'):
        build()(torch.zeros(2, 1, 4, 8, 8, dtype=torch.uint8))
    with pytest.raises(ValueError, match="backbone 'MambaND3D' is not a plain one for images"):
        ViTAdapter(dict(type='MambaND3D', arch=ARCH), num_heads=2)
