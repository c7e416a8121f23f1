"""Learned and rotary position embeddings, for the grid they are made for and for others."""

import math

import pytest
import torch

from mmmamba.layers import PositionEmbed, RotaryEmbed, rotate, split_tokens, token_places


def test_the_own_grid_gets_the_learned_vectors():
    embed = PositionEmbed(4, (3, 5))
    assert embed((3, 5)) is embed.weight


@pytest.mark.parametrize('placement', [None, 'head', 'middle', 'ends'])
def test_another_grid_gets_the_patches_resized_and_the_extra_tokens_unchanged(placement):
    embed = PositionEmbed(4, (3, 5), placement)
    tokens, patches = split_tokens(embed.weight, token_places(placement, 15))
    found_tokens, found = split_tokens(embed((6, 4)), token_places(placement, 24))
    assert torch.equal(found_tokens, tokens)
    expected = torch.nn.functional.interpolate(
        patches.view(1, 3, 5, 4).permute(0, 3, 1, 2), size=(6, 4), mode='bicubic', align_corners=False
    )
    torch.testing.assert_close(found.view(1, 6, 4, 4), expected.permute(0, 2, 3, 1))


def test_a_clip_of_another_size_gets_its_frames_resized_and_then_time():
    embed, functional = PositionEmbed(4, (3, 3, 5)), torch.nn.functional
    frames = embed.weight.view(3, 3, 5, 4).permute(0, 3, 1, 2)
    frames = functional.interpolate(frames, size=(6, 4), mode='bicubic', align_corners=False)
    expected = functional.interpolate(frames.transpose(0, 1)[None], size=(7, 6, 4), mode='trilinear')[0]
    torch.testing.assert_close(embed((7, 6, 4)).view(7, 6, 4, 4), expected.permute(1, 2, 3, 0))
    assert torch.equal(embed((3, 6, 4)).view(3, 6, 4, 4), frames.permute(0, 2, 3, 1))


@pytest.mark.parametrize(('length', 'grid'), [(15, (3, 5)), (16, (4, 4))])
def test_the_vectors_of_an_image_are_spread_over_a_clip(length, grid):
    tensor = torch.randn(1, length, 4)
    spread = PositionEmbed(4, (2, 3, 5)).spread(tensor).view(2, 15, 4)
    expected = PositionEmbed(4, grid)._resized(tensor, grid, (3, 5))[0]
    assert torch.equal(spread[0], expected)
    assert torch.equal(spread[1], expected)


def test_vectors_of_clips_of_other_sizes_are_left_as_they_are():
    tensor = torch.randn(1, 16, 4)
    assert PositionEmbed(4, (2, 3, 5)).fitted('weight', tensor) is tensor
    assert PositionEmbed(4, (2, 3, 5)).spread(tensor[:, :14]).shape == (1, 14, 4)


@pytest.mark.parametrize('placement', [None, 'head', 'middle', 'ends'])
def test_a_checkpoint_of_a_square_grid_is_resized(placement):
    small, large = PositionEmbed(4, (4, 4), placement), PositionEmbed(4, (6, 9), placement)
    torch.testing.assert_close(large.fitted('weight', small.weight), small((6, 9)))


@pytest.mark.parametrize('shape', [(1, 15, 4), (16, 4), (1, 0, 4)], ids=str)
def test_what_is_of_no_square_grid_is_left_as_it_is(shape):
    tensor = torch.randn(shape)
    assert PositionEmbed(4, (6, 9)).fitted('weight', tensor) is tensor


def test_rotary_tables_turn_pairs_of_channels_by_row_and_column():
    x = torch.randn(2, 6, 8)
    found = rotate(x, RotaryEmbed(8, (3, 2), length=14).tables((3, 2)))
    for row in range(3):
        for col in range(2):
            positions = [row / 3 * 14] * 2 + [col / 2 * 14] * 2
            for pair, position in enumerate(positions):
                angle = position * 10000 ** (-(pair % 2) / 2)
                a, b = x[:, row * 2 + col, 2 * pair], x[:, row * 2 + col, 2 * pair + 1]
                turned = found[:, row * 2 + col, 2 * pair : 2 * pair + 2]
                torch.testing.assert_close(turned[:, 0], a * math.cos(angle) - b * math.sin(angle))
                torch.testing.assert_close(turned[:, 1], b * math.cos(angle) + a * math.sin(angle))


def test_tables_for_another_grid_are_worked_out_or_resized():
    own, other = RotaryEmbed(8, (4, 4)), RotaryEmbed(8, (2, 3))
    for found, expected in zip(own.tables((2, 3)), other.tables((2, 3)), strict=True):
        assert torch.equal(found, expected)
    resized = RotaryEmbed(8, (4, 4), resize_tables=True).tables((2, 3))
    assert resized[0].shape == (6, 8)
    assert not torch.allclose(resized[0], other.cos)


def test_a_checkpoints_tables_give_way_to_those_of_the_grid():
    own = RotaryEmbed(8, (4, 4))
    assert torch.equal(own.fitted('cos', RotaryEmbed(8, (7, 7)).cos), own.cos)


def test_channels_that_do_not_pair_up_are_refused():
    with pytest.raises(ValueError, match='embed_dims 6 is not a multiple of 4'):
        RotaryEmbed(6, (2, 2))
