"""What is particular to MambaVision; the contract of all backbones and the golden outputs are tested elsewhere."""

import pytest
import torch

from mmmamba.models.backbones.mambavision import (
    ARCH,
    ConvBlock,
    MambaVision,
    MambaVisionMixer,
    WindowAttention,
    WindowedStage,
)

SMALL = dict(
    embed_dims=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_sizes=[8, 8, 3, 2], stem_dims=8
)
# With a classifier of 1000 classes; counted on the authors' code.
PUBLISHED_PARAMETERS = {
    'tiny': 31_794_248, 'tiny2': 35_104_008, 'small': 50_140_584, 'base': 97_685_288, 'large': 227_961_048,
    'large2': 241_554_824,
}  # fmt: skip


@pytest.mark.parametrize('arch', ARCH)
def test_parameter_count_is_the_published_one(arch):
    with torch.device('meta'):
        model = MambaVision(arch, out_indices=(3,), out_norm='BN')
    width = ARCH[arch]['embed_dims'][-1]
    assert sum(p.numel() for p in model.parameters()) + 1000 * (width + 1) == PUBLISHED_PARAMETERS[arch]


@pytest.mark.parametrize(('depth', 'mixers'), [(1, 'M'), (2, 'MA'), (3, 'MMA'), (5, 'MMMAA')])
def test_the_second_half_of_a_hybrid_stage_is_attention(depth, mixers):
    with torch.device('meta'):
        model = MambaVision(dict(SMALL, depths=[2, 2, depth, depth]))
    kinds = {MambaVisionMixer: 'M', WindowAttention: 'A'}
    for stage in model.stages[2:]:
        assert ''.join(kinds[type(block.mixer)] for block in stage.blocks) == mixers
    assert all(isinstance(block, ConvBlock) for stage in model.stages[:2] for block in stage.blocks)


def test_windows_do_not_see_each_other_and_keep_their_place():
    class Mark(torch.nn.Module):
        def forward(self, x):  # the mean of each window
            return x.mean((1, 2), keepdim=True).expand_as(x)

    x = torch.rand(2, 5, 4, 3)
    found = WindowedStage([Mark()], None, False, 3)(x)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 2, 0, 1))
    for top in (0, 3):
        for left in (0, 3):
            expected = padded[:, top : top + 3, left : left + 3].mean((1, 2), keepdim=True)
            part = found[:, top : top + 3, left : left + 3]
            torch.testing.assert_close(part, expected.expand_as(part))


def test_window_sizes_replace_those_of_the_arch():
    with torch.device('meta'):
        model = MambaVision('tiny', window_sizes=(8, 8, 64, 32))
    assert [stage.window_size for stage in model.stages[2:]] == [64, 32]


def test_other_routes_change_the_output():
    torch.manual_seed(0)
    model, other = (MambaVision(SMALL, scan=scan).double().eval() for scan in ('raster', 'raster.transpose'))
    other.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 96, 96, dtype=torch.float64)
    with torch.no_grad():
        assert (model(x)[2] - other(x)[2]).abs().max() > 1e-8


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(out_norm='IN'), r"out_norm 'IN' is not one of \['BN', 'LN', "),
        (dict(window_sizes=[7]), r'arch: window_sizes \[7\] needs a number for each of 4 stages'),
        (
            dict(arch=dict(SMALL, depths=[1, 1, 2, 2], num_heads=[1, 1, 3, 1])),
            r'num_heads 3 must divide the 16 channels',
        ),
        (dict(arch=dict(embed_dims=[8] * 4, depths=[1] * 4)), r"arch needs a value for \['num_heads', 'window_sizes'"),
    ],
    ids=['norm', 'windows', 'heads', 'incomplete'],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        MambaVision(**dict(arch=SMALL) | arguments)
