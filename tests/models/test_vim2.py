"""What is particular to ViM2; the contract of all backbones is tested elsewhere."""

import pytest
import torch

from mmmamba.layers import SS2D, SelectiveChannelMixer
from mmmamba.models.backbones import ViM2

SMALL = dict(embed_dims=[8, 12], depths=[4, 3], channel_ratios=[2, 1], grid=2, d_state=2)


def small(**options):
    torch.manual_seed(0)
    return ViM2(SMALL, out_indices=(0, 1), **options).eval()


def test_a_channel_mixer_follows_every_second_token_mixer_of_a_stage():
    kinds = [[type(block.mixer) for block in stage.blocks] for stage in small().stages]
    first = [SS2D, SS2D, SelectiveChannelMixer]
    assert kinds == [2 * first, [*first, SS2D]]


@torch.no_grad()
def test_with_all_weights_one_a_stage_is_residual():
    stage, x = small().stages[0], torch.randn(1, 5, 6, 8)
    expected = x
    for block in stage.blocks:
        expected = expected + block(expected)
    torch.testing.assert_close(stage(x), expected)


@torch.no_grad()
def test_a_block_reads_any_earlier_output():
    stage, x = small().stages[1], torch.randn(1, 5, 6, 12)
    for weights in stage.averages:
        weights.zero_()
    stage.averages[0][0] = 2.0  # the first block reads twice the input
    stage.averages[3][1] = 0.5  # the last one half of the first one's output
    stage.averages[4][4] = 1.0  # and alone leaves
    first, last = stage.blocks[0], stage.blocks[3]
    torch.testing.assert_close(stage(x), last(0.5 * first(2 * x)))


def test_ratios_for_other_stages_are_named():
    with pytest.raises(ValueError, match=r'arch: channel_ratios \[2\] needs a number for each of 2 stages'):
        ViM2(dict(SMALL, channel_ratios=[2]))
