"""Lines of progress."""

import itertools

from mmmamba.engine import progress


def test_lines_come_at_intervals_and_tell_the_time_left(monkeypatch):
    clock = itertools.count(0, 3)
    monkeypatch.setattr(progress.time, 'monotonic', lambda: next(clock))
    lines = []
    assert list(progress.tracked('abcdef', 6, lines.append, 'files')) == list('abcdef')
    assert lines == ['1 of 6 files, 0:00:30 left', '3 of 6 files, 0:00:12 left', '5 of 6 files, 0:00:04 left']


def test_nothing_is_said_of_what_is_done_at_once():
    lines = []
    assert list(progress.tracked(range(3), 3, lines.append, 'files')) == [0, 1, 2]
    assert lines == []
