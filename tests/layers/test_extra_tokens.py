"""Class tokens and registers: where they stand, and that they come out as they went in."""

import pytest
import torch

from mmmamba.layers import ExtraTokens, split_tokens, token_places

PLACES = {  # (placement, patches, count): places
    ('head', 12, 1): (0,),
    ('middle', 12, 1): (6,),
    ('middle', 35, 1): (17,),
    ('middle', 1, 1): (0,),
    ('tail', 12, 1): (12,),
    ('ends', 12, 1): (0, 13),
    ('even', 196, 12): (15, 31, 47, 63, 79, 95, 111, 127, 143, 159, 175, 191),
    ('even', 12, 4): (2, 5, 8, 11),
    ('even', 2, 3): (0, 1, 2),
    (None, 12, 1): (),
}


@pytest.mark.parametrize('case', PLACES, ids=str)
def test_places_are_the_published_ones(case):
    assert token_places(*case) == PLACES[case]


@pytest.mark.parametrize('case', [case for case in PLACES if case[0]], ids=str)
def test_tokens_come_out_as_they_went_in(case):
    placement, patches, count = case
    x, tokens = torch.randn(2, patches, 4), ExtraTokens(4, placement, count)
    whole, places = tokens(x), tokens.places(patches)
    assert whole.shape == (2, patches + len(places), 4)
    assert torch.equal(whole[:, list(places)], tokens.weight.expand(2, -1, -1))
    inserted, others = split_tokens(whole, places)
    assert torch.equal(inserted, tokens.weight.expand(2, -1, -1))
    assert torch.equal(others, x)


def test_without_extra_tokens_nothing_is_split_off():
    x = torch.randn(2, 5, 4)
    tokens, others = split_tokens(x, ())
    assert tokens.shape == (2, 0, 4)
    assert torch.equal(others, x)


def test_an_unknown_placement_is_named():
    with pytest.raises(ValueError, match=r"placement 'top' of extra tokens is not one of \('head', 'middle', 'tail'"):
        token_places('top', 12)
