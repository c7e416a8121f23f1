"""The contract of every registered backbone, tested on the small ones of ``CASES``: a new backbone adds a row there."""

import functools
import inspect
import re
from dataclasses import dataclass, field

import pytest
import torch
from torchvision.ops import StochasticDepth

from mmmamba.checkpoints import convert, export, load_weights
from mmmamba.checkpoints.families import family_of
from mmmamba.models import backbones
from mmmamba.registry import MODELS

SIZE = (37, 50)  # odd, not square, no multiple of any patch


@dataclass(frozen=True)
class Case:
    """A backbone small enough to run in a few milliseconds.

    Args:
        arch: its architecture.
        out_indices: every map that it can give, from the first one.
        published: whether its authors published weights, so that there is a key map.
        options: further arguments.
    """

    arch: dict
    out_indices: tuple[int, ...] = (0, 1, 2, 3)
    published: bool = True
    options: dict = field(default_factory=dict)


CASES = {
    'EfficientVMamba': Case(dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1], d_state=4)),
    'FractalMamba': Case(dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1]), published=False),
    'GroupMamba': Case(
        dict(embed_dims=[64, 64, 96, 96], depths=[1, 2, 1, 1], mlp_ratios=[1, 1, 1, 1], stem_dims=8),
        options=dict(normed=True),
    ),
    'Heracles': Case(
        dict(
            embed_dims=[8, 16, 24, 32],
            depths=[1, 2, 1, 1],
            num_heads=[1, 1, 2, 4],
            mlp_ratios=[2, 2, 2, 2],
            stem_dims=8,
            img_size=32,
        )
    ),
    'LocalVMamba': Case(dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1], d_state=4)),
    'MSVMamba': Case(dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1])),
    'MambaND': Case(
        dict(embed_dims=16, num_layers=4, patch_size=4, img_size=(32, 48), downsample_layers=(1,), d_state=4),
        out_indices=(0, 1, 2, 3),
    ),
    'MambaVision': Case(
        dict(
            embed_dims=[8, 16, 32, 32],
            depths=[1, 1, 3, 2],
            num_heads=[1, 1, 2, 4],
            window_sizes=[8, 8, 3, 2],
            stem_dims=8,
            layer_scale=0.5,
            conv_layer_scale=0.5,
        )
    ),
    'PlainMamba': Case(
        dict(embed_dims=16, num_layers=3, patch_size=8, img_size=(32, 48), dwconv_layers=(0,), d_state=4),
        out_indices=(0, 1, 2),
    ),
    'RSMamba': Case(
        dict(embed_dims=16, num_layers=3, patch_size=8, patch_stride=4, img_size=(32, 48), class_token='middle'),
        out_indices=(0, 1, 2),
    ),
    # Three stages: the fourth map, of one pixel, would have no state to remember.
    'MedMamba': Case(dict(embed_dims=[16, 24, 32], depths=[1, 2, 1], d_state=4), out_indices=(0, 1, 2)),
    'SiMBA': Case(
        dict(embed_dims=[8, 16, 24, 32], depths=[1, 2, 1, 1], mlp_ratios=[2, 2, 2, 2], stem_dims=8, d_state=4)
    ),
    'MambaR': Case(
        dict(embed_dims=16, num_layers=3, registers=3, img_size=(32, 48), patch_size=8, d_state=4),
        out_indices=(0, 1, 2),
    ),
    'VimF': Case(dict(embed_dims=16, num_layers=3, stride=8, frequency_layers=2, d_state=4), out_indices=(0, 1, 2)),
    'LocalVim': Case(
        dict(embed_dims=16, num_layers=3, img_size=(32, 48), patch_size=8, d_state=4), out_indices=(0, 1, 2)
    ),
    'ViM2': Case(dict(embed_dims=[16, 24, 32, 40], depths=[2, 2, 1, 2], grid=3, d_state=4), published=False),
    'Vim': Case(
        dict(embed_dims=16, num_layers=3, img_size=(32, 48), patch_size=8, stride=8, d_state=4), out_indices=(0, 1, 2)
    ),
    'VMamba': Case(dict(embed_dims=[16, 24, 32, 40], depths=[1, 2, 1, 1])),
}
every_backbone = pytest.mark.parametrize('name', CASES)


def build(name, seed=0, **options):
    """A backbone of one input channel with all its maps, no dropping of paths, and values that show what they do."""
    torch.manual_seed(seed)
    case = CASES[name]
    defaults = dict(in_channels=1, out_indices=case.out_indices, drop_path_rate=0.0)
    model = MODELS.build(dict(type=name, arch=case.arch, **defaults | case.options | options))
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero, or all alike, would hide the rest
            parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@functools.cache
def image():
    return torch.randn(2, 1, *SIZE, generator=torch.Generator().manual_seed(1))


def gradients(model):
    """Those of a training step, by name."""
    torch.manual_seed(5)  # for what is drawn in training
    outs = model.train()(image())
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).mean() for out in outs).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def identical(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_every_registered_backbone_has_a_case():
    assert sorted(CASES) == sorted(backbones.__all__)


@every_backbone
def test_the_arguments_of_all_backbones_are_there(name):
    parameters = inspect.signature(getattr(backbones, name)).parameters
    common = {'arch', 'in_channels', 'out_indices', 'frozen_stages', 'drop_path_rate', 'with_cp', 'init_cfg'}
    assert common <= set(parameters)
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())  # a misspelt argument would vanish
    assert all(p.kind is p.KEYWORD_ONLY for key, p in parameters.items() if key != 'arch')


@every_backbone
def test_maps_are_finite_in_order_of_stride_and_independent_of_the_batch(name):
    model = build(name).eval()
    with torch.no_grad():
        outs, alone = model(image()), model(image()[1:])
    assert len(outs) == len(CASES[name].out_indices)
    for out, one in zip(outs, alone, strict=True):
        assert out.shape[0] == 2
        assert out.dim() == 4
        assert out.isfinite().all()
        torch.testing.assert_close(out[1:], one, rtol=1e-4, atol=1e-5)
        assert not torch.allclose(out[0], out[1])  # the image shows
    for larger, smaller in zip(outs, outs[1:], strict=False):
        assert all(a >= b for a, b in zip(larger.shape[2:], smaller.shape[2:], strict=True))


@every_backbone
def test_every_parameter_gets_a_finite_gradient_that_is_not_zero(name):
    bad = [key for key, grad in gradients(build(name)).items() if grad is None or not 0 < grad.abs().max() < torch.inf]
    assert not bad


@every_backbone
def test_gradients_repeat_exactly_and_recomputing_blocks_does_not_change_them(name):
    """Under random dropping of paths, which the recomputation has to draw again as it was."""
    first, again = (gradients(build(name, drop_path_rate=0.3)) for _ in range(2))
    assert identical(first, again)
    assert identical(first, gradients(build(name, drop_path_rate=0.3, with_cp=True)))


@every_backbone
def test_autocast_gives_finite_maps_and_gradients(name):
    model = build(name).train()
    with torch.autocast('cpu', torch.bfloat16):
        outs = model(image())
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_backbone
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_a_model_in_half_precision_gives_maps_and_gradients_of_its_dtype(name, dtype):
    """Without autocast, as FSDP and DeepSpeed run it."""
    model = build(name).train().to(dtype)
    outs = model(image().to(dtype))
    assert all(out.dtype == dtype and out.isfinite().all() for out in outs)
    sum(out.float().square().mean() for out in outs).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@every_backbone
@pytest.mark.filterwarnings('ignore')  # of the tracer: sizes become constants, as they should
def test_a_traced_backbone_gives_the_same_maps(name):
    model = build(name).eval()
    traced = torch.jit.trace(model, image(), check_trace=False)
    with torch.no_grad():
        torch.testing.assert_close(traced(image()), model(image()), rtol=1e-4, atol=1e-5)


@every_backbone
def test_out_indices_choose_maps_in_order_of_depth_and_are_not_written_to(name):
    indices = CASES[name].out_indices
    wanted = [indices[-1], indices[0]]
    everything, chosen = build(name).eval(), build(name, out_indices=wanted).eval()
    chosen.load_state_dict({key: value for key, value in everything.state_dict().items() if key in chosen.state_dict()})
    with torch.no_grad():
        expected, found = everything(image()), chosen(image())
    assert len(found) == len(set(wanted))
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[-1], expected[-1])
    assert wanted == [indices[-1], indices[0]]


@every_backbone
def test_an_index_that_does_not_exist_is_named(name):
    with pytest.raises(ValueError, match=r'out_indices \(99,\) must name'):
        build(name, out_indices=(99,))


@every_backbone
@pytest.mark.parametrize(
    ('option', 'error', 'message'),
    [
        (dict(out_indices=2), TypeError, r'out_indices 2 is not a sequence of integers; write out_indices=\(2,\)'),
        (dict(out_indices=[1.0]), TypeError, r'out_indices \[1.0\] is not a sequence of integers; write the stages'),
        (dict(frozen_stages='1'), TypeError, "frozen_stages '1' is not an integer; give one from -1"),
        (dict(drop_path_rate='0.1'), TypeError, "drop_path_rate '0.1' is not a number; give one from 0 to 1"),
        (dict(in_channels=0), ValueError, 'in_channels 0 is not a positive integer; give the number of channels'),
        (dict(arch=['tiny']), TypeError, r"arch \['tiny'\] is not a name or a dict; name one of \["),
    ],
    ids=repr,
)
def test_a_wrong_argument_is_named_with_what_to_write_instead(name, option, error, message):
    case = CASES[name]
    with pytest.raises(error, match=message):
        MODELS.build({**dict(type=name, arch=case.arch, out_indices=case.out_indices), **option})


@every_backbone
def test_a_number_from_which_nothing_can_be_built_is_named(name):
    arch = CASES[name].arch
    several = isinstance(arch['embed_dims'], list)
    for key, value in (('embed_dims', -8), ('depths' if several else 'num_layers', 0)):
        wrong = [*arch[key][:-1], value] if several else value
        with pytest.raises(ValueError, match=rf'arch: {key} {re.escape(repr(wrong))} must be a positive integer'):
            MODELS.build(dict(type=name, arch={**arch, key: wrong}))


@every_backbone
def test_images_that_do_not_fit_are_named_with_their_shape(name):
    model = build(name)
    for shape, remedy in (
        ((2, 3, 32, 32), 'build it with in_channels=3'),
        ((1, 32, 32), 'add the axis of the batch'),
        ((2, 1, 0, 32), 'check what loads the images'),
    ):
        with pytest.raises(
            ValueError, match=rf'images of shape .{str(shape)[1:-1]}. do not fit .* \(B, 1, H, W\); {remedy}'
        ):
            model(torch.zeros(shape))
    with pytest.raises(TypeError, match='images hold torch.uint8, not floating point numbers'):
        model(torch.zeros(2, 1, 32, 32, dtype=torch.uint8))


@every_backbone
def test_an_architecture_that_does_not_exist_is_named(name):
    with pytest.raises(ValueError, match=r"arch 'zebra' is not one of \['"):
        MODELS.build(dict(type=name, arch='zebra'))
    with pytest.raises(ValueError, match=r"arch has the unknown keys \['stripes'\]"):
        MODELS.build(dict(type=name, arch=dict(CASES[name].arch, stripes=7)))


@every_backbone
def test_frozen_parts_get_no_gradient_and_stay_in_evaluation_mode(name):
    frozen_before = set()
    for frozen_stages in (-1, 0, 1, 2):
        model = build(name, frozen_stages=frozen_stages)
        assert model.train() is model
        frozen = {key for key, p in model.named_parameters() if not p.requires_grad}
        assert frozen > frozen_before if frozen_stages > -1 else not frozen
        frozen_before = frozen
        grads = gradients(model)
        assert {key for key, grad in grads.items() if grad is None} == frozen
        for key, module in model.named_modules():
            own = {f'{key}.{leaf}' for leaf, _ in module.named_parameters(recurse=False)}
            if own:
                assert module.training == (not own <= frozen), key
    with pytest.raises(ValueError, match='frozen_stages 99 is not between -1'):
        build(name, frozen_stages=99)


@every_backbone
def test_drop_path_grows_to_its_rate_and_is_off_in_evaluation(name):
    model = build(name, drop_path_rate=0.5)
    rates = [module.p for module in model.modules() if isinstance(module, StochasticDepth)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(0.5)
    with torch.no_grad():
        assert torch.equal(model.eval()(image())[-1], model(image())[-1])
    with pytest.raises(ValueError, match='drop_path_rate 1.5 is not between 0 and 1'):
        build(name, drop_path_rate=1.5)


@every_backbone
def test_weights_pass_through_the_authors_layout_and_back(name):
    model, twin = build(name), build(name, seed=1)
    if CASES[name].published:
        published = export(model)
        load_weights(twin, dict(model=published))
        assert identical(export(twin), published)
        converted = convert(published)  # that finds out the family
        assert converted.family is family_of(model)
        assert identical(convert(converted.weights).weights, published)
    else:
        assert family_of(model) is None
        load_weights(twin, dict(state_dict=model.state_dict()))
    assert identical(twin.state_dict(), model.state_dict())


@every_backbone
def test_any_number_of_input_channels_and_a_tiny_image(name):
    with torch.no_grad():
        outs = build(name, in_channels=4).eval()(torch.randn(1, 4, 5, 7))
    assert all(out.isfinite().all() and min(out.shape) > 0 for out in outs)


@every_backbone
def test_depths_rise_in_the_order_in_which_the_modules_run(name):
    """What learning rates that decay with depth go by. Norms that stand before or beside the blocks come last."""
    model = build(name)
    order = []
    for key, module in model.named_modules():
        if key and next(module.parameters(recurse=False), None) is not None:
            module.register_forward_hook(lambda *args, key=key: order.append(key) if key not in order else None)
    with torch.no_grad():
        model(image())
    depths = {key: model.get_layer_depth(f'backbone.{key}.weight', 'backbone.') for key in order}
    (count,) = {count for _, count in depths.values()}
    run = [depths[key][0] for key in order if not key.startswith(('out_norms', 'pre_norm'))]
    assert run == sorted(run)
    assert sorted(set(run)) == list(range(count - 1))
    assert all(depth == count - 1 for key, (depth, _) in depths.items() if key.startswith('out_norms'))
    assert model.get_layer_depth('decode_head.conv.weight', 'backbone.') == (count - 1, count)
    outside = {key for key, _ in model.named_parameters() if model.get_layer_depth(key)[0] == count - 1}
    assert all(key.startswith(('out_norms', 'pre_norm')) for key in outside)
