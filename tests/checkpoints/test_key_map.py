"""Patterns of names, in both directions."""

import pytest
import torch

from mmmamba.checkpoints import CheckpointError
from mmmamba.checkpoints.key_map import in_order_of, rename, reverse, shortened

PAIRS = (
    ('stem.0.**', 'backbone.stem.conv.**'),
    ('layers.*.blocks.*.op.A', 'backbone.stages.*.blocks.*.mixer.A_log'),
    ('layers.*.blocks.*.norm.**', 'backbone.stages.*.blocks.*.norm1.**'),
    ('norm*.**', 'backbone.out_norms.*.**'),
)
PUBLISHED = {
    'stem.0.weight': 'backbone.stem.conv.weight',
    'stem.0.bias': 'backbone.stem.conv.bias',
    'layers.0.blocks.1.op.A': 'backbone.stages.0.blocks.1.mixer.A_log',
    'layers.0.blocks.1.norm.weight': 'backbone.stages.0.blocks.1.norm1.weight',
    'layers.2.blocks.11.op.A': 'backbone.stages.2.blocks.11.mixer.A_log',
    'norm3.sub.weight': 'backbone.out_norms.3.sub.weight',
}


def numbered(names):
    return {name: torch.tensor(i) for i, name in enumerate(names)}


def test_names_are_renamed_and_tensors_kept():
    assert rename(numbered(PUBLISHED), PAIRS, 'x') == numbered(PUBLISHED.values())


def test_reversed_pairs_lead_back():
    assert rename(numbered(PUBLISHED.values()), reverse(PAIRS), 'x') == numbered(PUBLISHED)


def test_the_first_pair_that_fits_wins():
    pairs = (('a.0', 'first'), ('a.*', 'rest.*'))
    assert set(rename(numbered(['a.0', 'a.1']), pairs, 'x')) == {'first', 'rest.1'}


@pytest.mark.parametrize(
    'name', ['layers.x.blocks.1.op.A', 'layers.0.blocks.1.op.A.b', 'xstem.0.weight', 'stem.0', 'stemX0.w']
)
def test_a_name_that_only_resembles_a_pattern_does_not_fit(name):
    with pytest.raises(CheckpointError, match=f'^our files: 1 names have no place in the key map: {name}$'):
        rename(numbered([*PUBLISHED, name]), PAIRS, 'our files')


def test_many_names_without_a_place_are_counted():
    names = [f'wrong{i}' for i in range(9)]
    with pytest.raises(CheckpointError, match=r'9 names .*: wrong0, wrong1, .*, wrong5, \.\.\. \(3 more\)$'):
        rename(numbered(names), PAIRS, 'x')


def test_two_tensors_with_one_new_name_are_refused():
    with pytest.raises(CheckpointError, match="x: two tensors would be named 'c'; the second is 'b'"):
        rename(numbered(['a', 'b']), (('a', 'c'), ('b', 'c')), 'x')


def test_order_is_that_of_the_patterns_with_numbers_ascending():
    pairs = (
        ('z.**', ''),
        ('layers.*.norm.**', ''),
        ('layers.*.blocks.*.b', ''),
        ('layers.*.blocks.*.a', ''),
        ('a', ''),
    )
    names = [
        'z.w', 'layers.0.norm.w', 'layers.0.blocks.2.b', 'layers.0.blocks.2.a', 'layers.0.blocks.10.b',
        'layers.0.blocks.10.a', 'layers.1.norm.w', 'a',
    ]  # fmt: skip
    assert list(in_order_of(pairs, numbered(sorted(names)))) == names


def test_tensors_of_one_pattern_keep_their_order():
    assert list(in_order_of((('n.**', ''),), numbered(['n.weight', 'n.bias']))) == ['n.weight', 'n.bias']


def test_shortened_lists_are_whole_or_counted():
    assert shortened(['a', 'b']) == 'a, b'
    assert shortened('abcde', limit=2) == 'a, b, ... (3 more)'
